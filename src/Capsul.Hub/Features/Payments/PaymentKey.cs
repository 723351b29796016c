using System.Security.Cryptography;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// The key of a payment through a provider: the idempotency key of the call that makes its checkout, and what the
/// provider keeps with it. So a provider's payments are known to be ours even if the database has lost them.
/// </summary>
public static class PaymentKey
{
    const string Prefix = "capsul-";

    const int RandomBytes = 16;

    public static string Make() => Prefix + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(RandomBytes));

    public static bool IsOurs(string? key) => key?.Length == Prefix.Length + 2 * RandomBytes
        && key.StartsWith(Prefix, StringComparison.Ordinal)
        && key.AsSpan(Prefix.Length).IndexOfAnyExcept("0123456789abcdef") < 0;
}
