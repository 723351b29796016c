using System.Security.Claims;
using System.Text.Encodings.Web;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// Signs a request in by its cookie. The cookie carries a random id, the table <c>sessions</c> its SHA-256; the row is
/// looked at on each request, so that a sign-out holds at once and everywhere. A stranger is sent to the sign-in page.
/// </summary>
public sealed class SessionCookie(
    IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logs, UrlEncoder encoder, Sessions sessions)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logs, encoder)
{
    public const string SchemeName = "session";

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        // The page that says the database is down must not ask the database who is there.
        if (Context.Features.Get<IExceptionHandlerFeature>() is not null
            || Context.GetEndpoint()?.Metadata.GetMetadata<NoSession>() is not null)
            return AuthenticateResult.NoResult();
        if (await sessions.FindAsync(Context, Context.RequestAborted) is not { } email)
            return AuthenticateResult.NoResult();
        var identity = new ClaimsIdentity(
            [new Claim(Actor.EmailClaim, email)], SchemeName, Actor.EmailClaim, roleType: null);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), SchemeName));
    }

    /// <summary>
    /// To the sign-in page, and back here afterwards. A script that waits for news gets a status it can understand.
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
    /// What was asked for; of a form only the page, because what it would have done is not done by looking at it.
    /// </summary>
    string ReturnTo() => Request.Path + (HttpMethods.IsGet(Request.Method) ? Request.QueryString.Value : "");

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties)
    {
        Response.StatusCode = StatusCodes.Status403Forbidden;
        return Task.CompletedTask;
    }
}
