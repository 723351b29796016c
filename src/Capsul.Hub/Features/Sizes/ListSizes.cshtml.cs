using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Sizes;

/// <summary>What can be bought, and what no longer; adding a size, and taking one off sale.</summary>
[Authorize(Policies.Operator)]
public sealed class ListSizesPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Dollars { get; set; }

    [BindProperty]
    public string? Cpus { get; set; }

    [BindProperty]
    public string? Memory { get; set; }

    [BindProperty]
    public string? Disk { get; set; }

    [BindProperty]
    public string? Id { get; set; }

    public IReadOnlyList<SizeLineRow> Sizes { get; private set; } = [];

    string Me => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel) => Sizes = await db.ListAsync<SizeLineRow>(
        SizeSql.ListAll, new { now = time.GetUtcNow().UtcDateTime }, cancel);

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await ChangeSizes.AddAsync(
            db, Me, new ChangeSizes.Input(Name, Dollars, Cpus, Memory, Disk), settings, cancel);
        return await AnswerAsync(outcome, "is now on sale", cancel);
    }

    public async Task<IActionResult> OnPostRetireAsync(CancellationToken cancel) => await AnswerAsync(
        await ChangeSizes.RetireAsync(db, Me, Id, retired: true, cancel), "is no longer on sale", cancel);

    public async Task<IActionResult> OnPostOfferAsync(CancellationToken cancel) => await AnswerAsync(
        await ChangeSizes.RetireAsync(db, Me, Id, retired: false, cancel), "is on sale again", cancel);

    async Task<IActionResult> AnswerAsync(Outcome<string> outcome, string done, CancellationToken cancel)
    {
        if (outcome.Refused(out var problem, out var name))
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done($"{name} {done}.");
        return RedirectToPage("ListSizes");
    }
}
