using System.Security.Claims;
using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Web;

/// <summary>Who makes the request: the account of the session.</summary>
/// <param name="Email">Lower case; the key of the account.</param>
public sealed record Actor(string Email)
{
    /// <summary>Name of the one claim.</summary>
    public const string EmailClaim = "email";

    /// <summary>The account of a request to a route with the policy "signed in".</summary>
    public static Actor Of(HttpContext context) =>
        Find(context) ?? throw new InvalidOperationException("This route must require a session.");

    /// <summary>The account, or null if nobody is signed in.</summary>
    public static Actor? Find(HttpContext context) =>
        context.User.FindFirstValue(EmailClaim) is { } email ? new Actor(email) : null;
}
