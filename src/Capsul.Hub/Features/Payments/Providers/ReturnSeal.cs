using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.DataProtection;

namespace Capsul.Hub.Features.Payments.Providers;

/// <summary>
/// Encrypts where a friend comes back to until the provider knows it: the address has the secret of the page that shows
/// the payment and its refunds, which is kept only as a hash. The key is in the key ring, which the secret key
/// protects.
/// </summary>
public sealed class ReturnSeal(IDataProtectionProvider protection, Settings settings)
{
    const string Mark = "sealed:";

    readonly IDataProtector protector = protection.CreateProtector("Capsul.Payments.Return");

    public string Seal(Uri address) => Mark + protector.Protect(address.ToString());

    /// <summary>
    /// The address; others, which are no secret, are as they are. One whose key no longer exists is the first page.
    /// </summary>
    public string Open(string returnTo)
    {
        if (!returnTo.StartsWith(Mark, StringComparison.Ordinal)) return returnTo;
        try
        {
            return protector.Unprotect(returnTo[Mark.Length..]);
        }
        catch (CryptographicException)
        {
            return Site.Link(settings, "/").ToString();
        }
    }
}
