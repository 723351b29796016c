using System.Security.Cryptography;
using Microsoft.AspNetCore.DataProtection;

namespace Capsul.Hub.Features.Mails;

/// <summary>
/// Seals what a mail tells its reader alone, such as a link that signs in, so that a read of the outbox or of a backup
/// lets nobody in. Its key is one of the key ring, which the secret key protects.
/// </summary>
public sealed class MailSeal(IDataProtectionProvider protection)
{
    readonly IDataProtector protector = protection.CreateProtector("Capsul.Mails.Secret");

    public string Seal(string secret) => protector.Protect(secret);

    /// <summary>
    /// The text of a mail with its secret in place; null when it was sealed with a key that is no longer there.
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
