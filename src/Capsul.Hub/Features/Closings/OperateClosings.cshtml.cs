using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Closings;

/// <summary>Accounts that are being closed, and the money that an operator has to pay by hand.</summary>
[Authorize(Policies.Operator)]
public sealed class OperateClosingsPage(Db db, Foundation.Settings settings, TimeProvider time) : PageModel
{
    const int PageRows = 100;

    [BindProperty]
    public string? Email { get; set; }

    [BindProperty]
    public string? Money { get; set; }

    [BindProperty]
    public string? PayTo { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    [BindProperty]
    public long Id { get; set; }

    [BindProperty]
    public string? By { get; set; }

    /// <summary>ID of the last closing, or payout, of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    [BindProperty(SupportsGet = true)]
    public long PayoutsAfter { get; set; }

    public IReadOnlyList<ClosingRow> Closings { get; private set; } = [];

    public IReadOnlyList<ClosingPayoutRow> Payouts { get; private set; } = [];

    public bool HasMore { get; private set; }

    public bool HasMorePayouts { get; private set; }

    string Me => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var closings = await db.ListAsync<ClosingRow>(
            ClosingSql.ListOpen, new { after = After, limit = PageRows + 1 }, cancel);
        (Closings, HasMore) = ([.. closings.Take(PageRows)], closings.Count > PageRows);
        var payouts = await db.ListAsync<ClosingPayoutRow>(
            ClosingPayoutSql.ListToDo, new { after = PayoutsAfter, limit = PageRows + 1 }, cancel);
        (Payouts, HasMorePayouts) = ([.. payouts.Take(PageRows)], payouts.Count > PageRows);
    }

    public async Task<IActionResult> OnPostCloseAsync(CancellationToken cancel)
    {
        var input = new CloseAccount.Input(null, Money, PayTo, Reason);
        var outcome = await CloseAccount.RunAsync(db, settings, Me, Email, input, time, cancel);
        if (outcome.Refused(out var problem, out var due)) return await RefuseAsync(problem, problem.Field, cancel);
        this.Done($"The account is being closed. It may be reopened until {Show.Time(due)}.");
        return RedirectToPage("OperateClosings");
    }

    public async Task<IActionResult> OnPostReopenAsync(CancellationToken cancel)
    {
        var outcome = await ReopenAccount.RunAsync(db, Me, Email, time, cancel);
        if (outcome.Refused(out var problem, out var email)) return await RefuseAsync(problem, null, cancel);
        this.Done($"{email} stays open.");
        return RedirectToPage("OperateClosings");
    }

    public async Task<IActionResult> OnPostPaidAsync(CancellationToken cancel)
    {
        var outcome = await PayOut.RunAsync(db, Me, Id, By, Reason, time, cancel);
        if (outcome.Refused(out var problem, out var amount))
            return await RefuseAsync(problem, problem.Field is { } field ? $"{field}-{Id}" : null, cancel);
        this.Done($"{Show.Dollars(amount)} is paid.");
        return RedirectToPage("OperateClosings");
    }

    async Task<IActionResult> RefuseAsync(
        Foundation.Problem problem, string? field, CancellationToken cancel)
    {
        await OnGetAsync(cancel);
        return this.Refuse(problem, field ?? "");
    }
}
