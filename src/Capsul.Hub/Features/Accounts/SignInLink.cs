using Capsul.Foundation;

namespace Capsul.Hub.Features.Accounts;

/// <summary>Following a sign-in link.</summary>
public static class SignInLink
{
    /// <summary>Whose session to create, and where to redirect then.</summary>
    public sealed record Plan(string Email, string ReturnPath);

    /// <summary>Whether the link still lets its bearer in.</summary>
    public static Outcome<Plan> Decide(SignInTokenRow? token, DateTime now) => token switch
    {
        null => new Problem(ProblemKind.NotFound,
            "This link is invalid or has expired. Check that you copied the whole address, or request a new link."),
        { Used: not null } => new Problem(ProblemKind.Conflict,
            "This link has already been used. Each link signs you in once; request a new one."),
        _ when token.Expires <= now => new Problem(ProblemKind.Conflict,
            $"This link has expired. A link works for {SignIn.Lifetime.TotalMinutes:0} minutes; request a new one."),
        _ => new Plan(token.Email, token.ReturnPath),
    };

    /// <summary>
    /// Whether opening the link is enough. Mail scanners open links, so opening one signs in only the browser that
    /// requested it (which has a cookie), or anybody in development. Others get a page with a button.
    /// </summary>
    public static bool OpensAtOnce(bool browserAsked, bool development) => browserAsked || development;
}
