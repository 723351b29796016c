using Capsul.Hub.Features.Mails;

namespace Capsul.Hub.Features.Accounts;

/// <summary>The mail with the link.</summary>
public static class SignInMail
{
    public static Mail Write(string email, Uri link) => new(email, "Sign in to Capsul",
        $"""
        Hello,

        with this link you sign in to Capsul at {link.Authority}:

        {link}

        It works once, for {SignIn.Lifetime.TotalMinutes:0} minutes. If you did not ask for it, do nothing: nobody can sign in without it.
        """);
}
