using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.PriceLevels;

/// <summary>The price levels that are offered, for operators.</summary>
[Authorize(Policies.Operator)]
public sealed class OperateLevelsPage(Db db, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Percent { get; set; }

    [BindProperty]
    public long Id { get; set; }

    public IReadOnlyList<PriceLevelRow> Levels { get; private set; } = [];

    string Me => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel) =>
        Levels = await db.ListAsync<PriceLevelRow>(PriceLevelSql.List, null, cancel);

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await ChangeLevels.AddAsync(db, Me, new ChangeLevels.Input(Name, Percent), time, cancel);
        return await AnswerAsync(outcome.Problem, $"{Name} is now offered.", cancel);
    }

    public async Task<IActionResult> OnPostRetireAsync(CancellationToken cancel)
    {
        var outcome = await ChangeLevels.RetireAsync(db, Me, Id, time, cancel);
        return await AnswerAsync(outcome.Problem, $"{outcome.Value} is no longer offered.", cancel);
    }

    async Task<IActionResult> AnswerAsync(Foundation.Problem? problem, string done, CancellationToken cancel)
    {
        if (problem is not null)
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done(done);
        return RedirectToPage("OperateLevels");
    }
}
