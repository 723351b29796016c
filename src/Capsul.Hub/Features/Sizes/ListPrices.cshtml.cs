using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Sizes;

/// <summary>What each size costs, cost and will cost; announcing a price, and withdrawing one.</summary>
[Authorize(Policies.Operator)]
public sealed class ListPricesPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Size { get; set; }

    [BindProperty]
    public string? Dollars { get; set; }

    [BindProperty]
    public string? From { get; set; }

    [BindProperty]
    public long Id { get; set; }

    public IReadOnlyList<string> Sizes { get; private set; } = [];

    public IReadOnlyList<PriceRow> Prices { get; private set; } = [];

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    string Operator => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Sizes =
            [.. await db.ListAsync<string>(SizeSql.All, null, cancel), Billing.Prices.FurtherAddress];
        Prices = await db.ListAsync<PriceRow>(PriceSql.List, null, cancel);
    }

    public async Task<IActionResult> OnPostSetAsync(CancellationToken cancel)
    {
        var done = await SetPrice.RunAsync(
            db, Operator, new SetPrice.Input(Size, Dollars, From), settings, time, cancel);
        if (!done.Refused(out var problem, out var said)) return Done($"{said}");
        await OnGetAsync(cancel);
        return this.Refuse(problem);
    }

    public async Task<IActionResult> OnPostWithdrawAsync(CancellationToken cancel) =>
        (await WithdrawPrice.RunAsync(db, Operator, Id, settings, time, cancel)).Refused(out var problem, out var said)
            ? Problems.Page(problem) : Done(said);

    RedirectToPageResult Done(string sentence)
    {
        Forms.Done(this, sentence);
        return RedirectToPage("ListPrices");
    }
}
