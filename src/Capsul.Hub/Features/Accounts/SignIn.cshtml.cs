using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Accounts;

[Authorize(Policies.Public)]
public sealed class SignInPage(Db db, Outbox outbox, Site site, AskedLinks asked, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Email { get; set; }

    public string? EmailProblem { get; private set; }

    public IActionResult OnGet() => Actor.Find(HttpContext) is null ? Page() : Redirect("/console");

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if (EmailAddress.Parse(Email).Refused(out var problem, out var email))
        {
            EmailProblem = problem.Message;
            Response.StatusCode = problem.HttpStatus;
            return Page();
        }
        var token = Secret.Make();
        var outcome = await AskAsync(email, token, cancel);
        if (outcome.Problem is not null)
            return Problems.Page(outcome.Problem);
        asked.Remember(HttpContext, token);
        return Redirect("/sign-in/sent");
    }

    Task<Outcome<SignIn.Plan>> AskAsync(string email, string token, CancellationToken cancel) => db.DecideAsync<SignIn.Plan>(async transaction =>
    {
        var ip = Limits.Neighbourhood(HttpContext.Connection.RemoteIpAddress);
        var now = time.GetUtcNow().UtcDateTime;
        await transaction.ExecuteAsync(SignInSql.Lock, new { words = new[] { email, ip.ToString() } }, cancel);
        var links = await transaction.FindAsync<SignInSql.Counted>(SignInSql.Counts, new { email, ip, now, since = now - Accounts.SignIn.Window }, cancel);
        if (Accounts.SignIn.Decide(new Accounts.SignIn.Facts(now, links!), email).Refused(out var problem, out var plan))
            return problem;
        await transaction.ExecuteAsync(SignInSql.Create, new { hash = Secret.Hash(token), email, ip, now, expires = plan.Expires }, cancel);
        await transaction.ExecuteAsync(SignInSql.Sweep, new { before = now - TimeSpan.FromDays(7) }, cancel);
        await outbox.EnqueueAsync(transaction, SignInMail.Write(plan.Email, site.Link("/sign-in/" + token)), cancel);
        return plan;
    }, cancel);
}
