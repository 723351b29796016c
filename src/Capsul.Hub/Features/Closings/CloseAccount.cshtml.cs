using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Closings;

/// <summary>A person closes their own account, or reopens it while that is possible.</summary>
[Authorize(Policies.SignedIn)]
public sealed class CloseAccountPage(Db db, Settings settings, Sessions sessions, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Typed { get; set; }

    [BindProperty]
    public string? Money { get; set; }

    [BindProperty]
    public string? PayTo { get; set; }

    public string Email => Actor.Of(HttpContext).Email;

    /// <summary>Null: it is not being closed.</summary>
    public ClosingRow? Closing { get; private set; }

    public decimal Balance { get; private set; }

    public int Vms { get; private set; }

    public int Days => settings.ClosingDays;

    public int Years => settings.KeepReceiptsYears;

    public bool MayReopen { get; private set; }

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        Closing = await db.FindAsync<ClosingRow>(ClosingSql.FindOf, new { email = Email }, cancel);
        MayReopen = ReopenAccount.Decide(
            Closing, await db.AskAsync<DateTime>(DunningSql.Trusted, new { now }, cancel)) is null;
        Balance = (await db.AskAsync<BalanceRow>(BillingSql.Balance, new { email = Email, now }, cancel)).Balance;
        Vms = await db.AskAsync<int>(BillingSql.CountAlive, new { email = Email }, cancel);
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var input = new CloseAccount.Input(Typed ?? "", Money, PayTo, null);
        var outcome = await CloseAccount.RunAsync(db, settings, Email, Email, input, time, cancel);
        if (outcome.Refused(out var problem, out var due))
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        await sessions.EndAsync(HttpContext, cancel);
        this.Done($"Your account is being closed. To reopen it, sign in before {Show.Time(due)}.");
        return RedirectToPage("/Accounts/SignIn");
    }

    public async Task<IActionResult> OnPostReopenAsync(CancellationToken cancel)
    {
        var outcome = await ReopenAccount.RunAsync(db, Email, Email, time, cancel);
        if (outcome.Problem is { } problem) return Problems.Page(problem);
        this.Done("Your account stays open.");
        return RedirectToPage("/Accounts/ShowAccount");
    }
}
