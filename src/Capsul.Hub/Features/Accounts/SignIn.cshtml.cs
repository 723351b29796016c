using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Accounts;

/// <summary>Requests a sign-in link. Remembers the page that redirected here.</summary>
[Authorize(Policies.Public)]
public sealed class SignInPage(
    Db db, Outbox outbox, MailSeal seal, Site site, AskedLinks asked, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Email { get; set; }

    [BindProperty(SupportsGet = true)]
    public string? ReturnUrl { get; set; }

    /// <summary>What a new account gets; 0: nothing.</summary>
    public decimal TrialAmount => settings.TrialAmount;

    public int TrialDays => settings.TrialDays;

    public bool CanMail => Site.HasMail(settings);

    /// <summary>Local pages only, to prevent open redirects.</summary>
    string ReturnPath => ReturnUrl is { Length: <= 200 } url && Url.IsLocalUrl(url) && url[0] == '/' ? url : "";

    public IActionResult OnGet() =>
        Actor.Find(HttpContext) is null ? Page() : LocalRedirect(ReturnPath.Length > 0 ? ReturnPath : "/console");

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if (!CanMail)
            return this.Refuse(
                new Problem(ProblemKind.Unavailable, "This site cannot send email yet, so nothing was sent."));
        if (EmailAddress.Parse(Email).Refused(out var problem, out var email))
            return this.Refuse(problem, nameof(Email));
        var token = Secret.Make();
        if ((await AskAsync(email, token, cancel)).Problem is { } refusal)
            return this.Refuse(refusal);
        asked.Remember(HttpContext, token);
        TempData[SignInSentPage.SentTo] = email;
        return RedirectToPage("/Accounts/SignInSent");
    }

    Task<Outcome<SignIn.Plan>> AskAsync(string email, string token, CancellationToken cancel) =>
        db.DecideAsync<SignIn.Plan>(async transaction =>
        {
            var ip = Limits.Neighbourhood(HttpContext.Connection.RemoteIpAddress);
            var now = time.GetUtcNow().UtcDateTime;
            var words =
                new[] { email, ip.ToString(), Limits.Site(ip).ToString() }.Distinct(StringComparer.Ordinal).ToArray();
            await transaction.ExecuteAsync(SignInSql.Lock, new { words }, cancel);
            var since = now - Accounts.SignIn.Window;
            var links = await transaction.FindAsync<AskedLinksRow>(
                SignInSql.Counts, new { email, ip, now, since }, cancel);
            if (Accounts.SignIn.Decide(new Accounts.SignIn.Facts(now, links!), email)
                .Refused(out var problem, out var plan))
                return problem;
            await transaction.ExecuteAsync(SignInSql.Create,
                new { hash = Secret.Hash(token), email, ip, now, expires = plan.Expires, returnPath = ReturnPath },
                cancel);
            await transaction.ExecuteAsync(SignInSql.Sweep, new { before = now - TimeSpan.FromDays(7) }, cancel);
            var mail = SignInMail.Write(
                settings.SiteName, plan.Email, site.Link("/sign-in/"), seal.Seal(token), plan.Expires);
            await outbox.EnqueueAsync(transaction, mail, cancel);
            return plan;
        }, cancel);
}
