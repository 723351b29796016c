using Capsul.Foundation;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.AccountLimits;

/// <summary>New accounts: those that wait to be approved, and how much accounts of an age may run.</summary>
[Authorize(Policies.Operator)]
public sealed class ListLimitsPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    const int PageRows = 200;

    [BindProperty]
    public string? AfterDays { get; set; }

    [BindProperty]
    public string? Paid { get; set; }

    [BindProperty]
    public string? MaxVms { get; set; }

    [BindProperty]
    public string? Email { get; set; }

    public IReadOnlyList<AccountLimitRow> Limits { get; private set; } = [];

    public IReadOnlyList<WaitingAccountRow> Waiting { get; private set; } = [];

    public TrialSumsRow Trials { get; private set; } = null!;

    /// <summary>What a new account gets to try things out; 0: nothing.</summary>
    public decimal TrialAmount => settings.TrialAmount;

    public int TrialDays => settings.TrialDays;

    public bool Approves => settings.ApproveAccounts;

    public int Otherwise => settings.MaxVms;

    string Me => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Trials = await db.AskAsync<TrialSumsRow>(TrialSql.Sums, null, cancel);
        Limits = await db.ListAsync<AccountLimitRow>(AccountLimitSql.List, null, cancel);
        Waiting = await db.ListAsync<WaitingAccountRow>(AccountLimitSql.ListWaiting, new { limit = PageRows }, cancel);
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await ChangeLimit.RunAsync(
            db, settings, Me, new ChangeLimit.Input(AfterDays, Paid, MaxVms), cancel);
        return await AnswerAsync(outcome.Problem, "The line is saved.", cancel);
    }

    public async Task<IActionResult> OnPostRemoveAsync(CancellationToken cancel)
    {
        var outcome = await ChangeLimit.RemoveAsync(
            db, settings, Me, new ChangeLimit.Input(AfterDays, Paid, null), cancel);
        return await AnswerAsync(outcome.Problem, "The line is removed.", cancel);
    }

    public async Task<IActionResult> OnPostApproveAsync(CancellationToken cancel)
    {
        var outcome = await ApproveAccount.RunAsync(db, settings, Me, Email, time, cancel);
        return await AnswerAsync(
            outcome.Problem is { } problem ? problem with { Field = null } : null, $"{Email} is approved.", cancel);
    }

    async Task<IActionResult> AnswerAsync(Problem? problem, string done, CancellationToken cancel)
    {
        if (problem is not null)
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done(done);
        return RedirectToPage("ListLimits");
    }
}
