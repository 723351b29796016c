using System.Security.Claims;
using System.Text.Encodings.Web;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// Authenticates a request by its cookie. The cookie carries a random ID, the table <c>sessions</c> its SHA-256; the
/// row is read on each request, so that a sign-out takes effect immediately and everywhere. Anyone else is redirected
/// to the sign-in page.
/// </summary>
public sealed class SessionCookie(
    IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logs, UrlEncoder encoder, Sessions sessions)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logs, encoder)
{
    public const string SchemeName = "session";

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        // The page that reports that the database is down must not ask the database who is signed in.
        if (Context.Features.Get<IExceptionHandlerFeature>() is not null
            || Context.GetEndpoint()?.Metadata.GetMetadata<NoSession>() is not null)
            return AuthenticateResult.NoResult();
        if (await sessions.FindAsync(Context, Context.RequestAborted) is not { } session)
            return AuthenticateResult.NoResult();
        Context.Features.Set(new Forecast(
            new BalanceRow(session.Paid, session.Used, session.DollarsPerMonth), session.Stopped, session.Closes));
        var identity = new ClaimsIdentity(
            [new Claim(Actor.EmailClaim, session.Email)], SchemeName, Actor.EmailClaim, roleType: null);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), SchemeName));
    }

    /// <summary>
    /// Redirects to the sign-in page, and back here afterwards. A script that waits for events gets a status code
    /// instead.
    /// </summary>
    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        if (Context.GetEndpoint()?.Metadata.GetMetadata<ForScripts>() is not null)
            Response.StatusCode = StatusCodes.Status401Unauthorized;
        else
            Response.Redirect("/sign-in" + QueryString.Create("returnUrl", ReturnTo()));
        return Task.CompletedTask;
    }

    /// <summary>
    /// What was requested; for a form post only the page, because the post cannot be repeated after the sign-in.
    /// </summary>
    string ReturnTo() => Request.Path + (HttpMethods.IsGet(Request.Method) ? Request.QueryString.Value : "");

    /// <summary>What an account may not see does not exist for it.</summary>
    protected override Task HandleForbiddenAsync(AuthenticationProperties properties)
    {
        Response.StatusCode = StatusCodes.Status404NotFound;
        return Task.CompletedTask;
    }
}
