using System.Security.Cryptography;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// The key of a payment through a provider: the idempotency key of the call that makes its checkout, and what the
/// provider keeps with it. So a provider's payments are known to be ours even if the database has lost them.
/// </summary>
public static class PaymentKey
{
    const string Prefix = "capsul-", FriendPrefix = "capsul-friend-", ChargePrefix = "capsul-auto-",
        CardPrefix = "capsul-card-";

    const int RandomBytes = 16;

    public static string Make() => Prefix + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(RandomBytes));

    /// <summary>Of a payment that somebody else makes: the provider has no address of the account.</summary>
    public static string MakeForFriend() =>
        FriendPrefix + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(RandomBytes));

    /// <summary>Of a charge of a saved card.</summary>
    public static string MakeForCharge() =>
        ChargePrefix + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(RandomBytes));

    /// <summary>Of a page on which a card is entered; it is no payment.</summary>
    public static string MakeForCard() =>
        CardPrefix + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(RandomBytes));

    public static bool IsOurs(string? key) => IsKey(key, Prefix) || IsFriends(key) || IsCharge(key);

    public static bool IsFriends(string? key) => IsKey(key, FriendPrefix);

    public static bool IsCharge(string? key) => IsKey(key, ChargePrefix);

    public static bool IsCard(string? key) => IsKey(key, CardPrefix);

    static bool IsKey(string? key, string prefix) => key?.Length == prefix.Length + 2 * RandomBytes
        && key.StartsWith(prefix, StringComparison.Ordinal)
        && key.AsSpan(prefix.Length).IndexOfAnyExcept("0123456789abcdef") < 0;
}
