using System.Globalization;
using Capsul.Hub.Features.Mails;

namespace Capsul.Hub.Features.Accounts;

/// <summary>The email with the link.</summary>
public static class SignInMail
{
    /// <param name="site">Name of the installation.</param>
    /// <param name="email">The recipient.</param>
    /// <param name="links">Base URL of sign-in links; the token is appended.</param>
    /// <param name="token">Encrypted in the outbox.</param>
    /// <param name="expires">When the link stops working.</param>
    public static Mail Write(string site, string email, Uri links, string token, DateTime expires) =>
        MailText.Write("sign_in", email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = site,
            ["link"] = links + Mail.SecretMark,
            ["minutes"] = SignIn.Lifetime.TotalMinutes.ToString("0", CultureInfo.InvariantCulture),
        }) with
        {
            Secret = token,
            Expires = expires,
        };
}
