using Capsul.Foundation;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Accounts;

[Authorize(Policies.Public)]
public sealed class SignInLinkPage(Db db, Sessions sessions, AskedLinks asked, Settings settings, TimeProvider time)
    : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Token { get; set; } = "";

    /// <summary>The account that the button signs in to.</summary>
    public string Email { get; private set; } = "";

    public Problem? Problem { get; private set; }

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (HttpMethods.IsGet(Request.Method)
            && SignInLink.OpensAtOnce(asked.Asked(HttpContext, Token), settings.Development))
            return await OnPostAsync(cancel);
        var token = await db.FindAsync<SignInTokenRow>(SignInSql.Find, new { hash = Secret.Hash(Token) }, cancel);
        return SignInLink.Decide(token, time.GetUtcNow().UtcDateTime).Refused(out var problem, out var plan)
            ? Refuse(problem)
            : Offer(plan.Email);
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if ((await UseAsync(cancel)).Refused(out var problem, out var signedIn))
            return Refuse(problem);
        // A previous session in this browser ends.
        await sessions.EndAsync(HttpContext, cancel);
        sessions.SetCookie(HttpContext, signedIn.Session);
        asked.Forget(HttpContext);
        if (signedIn.Trial > 0)
            this.Done($"You got {Show.Dollars(signedIn.Trial)} of trial credit, valid for "
                + $"{Show.Count(settings.TrialDays, "day", "days")}.");
        return LocalRedirect(signedIn.To);
    }

    /// <param name="To">The page that required the sign-in; for somebody who has no capsul yet, the form that creates
    /// one.</param>
    /// <param name="Trial">The credit that the account got.</param>
    sealed record SignedIn(string Session, string To, decimal Trial);

    Task<Outcome<SignedIn>> UseAsync(CancellationToken cancel) => db.DecideAsync<SignedIn>(async transaction =>
    {
        var now = time.GetUtcNow().UtcDateTime;
        var hash = Secret.Hash(Token);
        var token = await transaction.FindAsync<SignInTokenRow>(SignInSql.FindForUse, new { hash }, cancel);
        if (SignInLink.Decide(token, now).Refused(out var problem, out var plan))
            return problem;
        await transaction.ExecuteAsync(SignInSql.Use, new { hash, now }, cancel);
        var waits = settings.ApproveAccounts && !Policies.IsOperator(settings, plan.Email);
        var isMade = await transaction.ExecuteAsync(
            AccountSql.SignUp, new { email = plan.Email, now, waits }, cancel) > 0;
        // One that waits gets it when it is approved.
        var trial = isMade && !waits
            ? await GiveTrial.InAsync(transaction, settings, plan.Email, now, cancel) : 0;
        await transaction.ExecuteAsync(AccountSql.SweepSessions, new { now }, cancel);
        var session = await sessions.CreateAsync(transaction, plan.Email, cancel);
        var isNew = plan.ReturnPath.Length == 0
            && !await transaction.FindAsync<bool>(AccountSql.HasVms, new { email = plan.Email }, cancel);
        return new SignedIn(session, plan.ReturnPath.Length > 0 ? plan.ReturnPath : isNew ? "/vms/new" : "/console",
            trial);
    }, cancel);

    PageResult Refuse(Problem problem)
    {
        Problem = problem;
        Response.StatusCode = problem.HttpStatus;
        return Page();
    }

    PageResult Offer(string email)
    {
        Email = email;
        return Page();
    }
}
