using Capsul.Hub.Features.Mails;

namespace Capsul.Hub.Features.Accounts;

/// <summary>The email with the link.</summary>
public static class SignInMail
{
    /// <param name="links">Base URL of sign-in links; the token is appended.</param>
    /// <param name="token">Encrypted in the outbox.</param>
    public static Mail Write(string email, Uri links, string token, DateTime expires) => new(email, "Sign in to Capsul",
        $"""
        Hello,

        Use this link to sign in to Capsul:

        {links}{Mail.SecretMark}

        It works once, within {SignIn.Lifetime.TotalMinutes:0} minutes. If you did not ask for it, ignore this email:
        nobody can sign in without the link.
        """)
    {
        Secret = token,
        Expires = expires,
    };
}
