using System.Security.Cryptography;
using Microsoft.AspNetCore.DataProtection;

namespace Capsul.Hub.Features.Mails;

/// <summary>
/// Encrypts what only an email's recipient may read, such as a sign-in link, so that reading the outbox or a backup
/// does not let anyone sign in. The key is in the key ring, which the secret key protects.
/// </summary>
public sealed class MailSeal(IDataProtectionProvider protection)
{
    readonly IDataProtector protector = protection.CreateProtector("Capsul.Mails.Secret");

    public string Seal(string secret) => protector.Protect(secret);

    /// <summary>
    /// The text of an email with its secret filled in; null when the key it was encrypted with no longer exists.
    /// </summary>
    public string? Open(string body, string secret)
    {
        if (secret.Length == 0) return body;
        try
        {
            return body.Replace(Mail.SecretMark, protector.Unprotect(secret), StringComparison.Ordinal);
        }
        catch (CryptographicException)
        {
            return null;
        }
    }
}
