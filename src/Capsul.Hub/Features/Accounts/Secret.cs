using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// A random bearer token (sign-in link, session cookie). Only its SHA-256 is stored, so that reading the table does not
/// let anyone sign in; 256 random bits need no slow hash.
/// </summary>
public static class Secret
{
    public static string Make() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    public static byte[] Hash(string secret) => SHA256.HashData(Encoding.UTF8.GetBytes(secret));
}
