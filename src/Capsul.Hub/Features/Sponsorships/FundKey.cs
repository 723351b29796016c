using System.Security.Cryptography;
using Capsul.Foundation;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>The key of one movement of money: a form that is sent twice moves it once.</summary>
public static class FundKey
{
    const int RandomBytes = 16;

    public static string Make() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(RandomBytes));

    /// <summary>The refusal, or null.</summary>
    public static Problem? Check(string? key) =>
        key?.Length == 2 * RandomBytes && key.AsSpan().IndexOfAnyExcept("0123456789abcdef") < 0 ? null
        : new(ProblemKind.Invalid, "This form is not complete. Load the page again.");

    /// <summary>The payment that was made under the key, or the refusal if that was another one.</summary>
    public static Outcome<int> Repeat(FundMovementRow done, string email, decimal dollars) =>
        done.Email == email && done.Dollars == dollars ? done.Payment
        : new Problem(ProblemKind.Conflict, "This form was sent already, with something else. Load the page again.");
}
