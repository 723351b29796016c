using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// A random word that lets its bearer in (mailed link, session cookie). Only its SHA-256 is stored, so that a read of
/// the table lets nobody in; 256 random bits need no slow hash.
/// </summary>
public static class Secret
{
    public static string Make() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    public static byte[] Hash(string secret) => SHA256.HashData(Encoding.UTF8.GetBytes(secret));
}
