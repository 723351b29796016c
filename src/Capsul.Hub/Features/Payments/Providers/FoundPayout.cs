namespace Capsul.Hub.Features.Payments.Providers;

/// <summary>What a provider has sent to the bank.</summary>
/// <param name="Reference">The provider's ID.</param>
/// <param name="Amount">Negative: it was taken from the bank.</param>
/// <param name="Status">One of <see cref="PayoutStatus"/>.</param>
/// <param name="Movements">What it is made of; none if the provider does not say.</param>
public sealed record FoundPayout(string Reference, decimal Amount, string Currency, DateOnly Arrives, string Status,
    IReadOnlyList<PayoutMovement> Movements);

/// <param name="Kind">In the provider's words.</param>
/// <param name="Net">After what the provider kept of it.</param>
/// <param name="Charge">The provider's ID of the charge that it belongs to; null: it belongs to none.</param>
/// <param name="Key">That of who made the charge, if the provider has one.</param>
/// <param name="Nature">What it is, if it belongs to no charge.</param>
public sealed record PayoutMovement(
    string Kind, decimal Net, string? Charge, string? Key, MovementNature Nature = MovementNature.Other);

public enum MovementNature
{
    /// <summary>Not known, or of somebody else.</summary>
    Other,

    /// <summary>What the provider keeps, and the tax on it.</summary>
    Fee,

    /// <summary>What the provider holds back for a while, or no longer: it is with the provider meanwhile.</summary>
    Held,
}

public static class PayoutStatus
{
    /// <summary>It has not arrived yet.</summary>
    public const string Moving = "moving";

    public const string Paid = "paid";

    /// <summary>The bank did not take it.</summary>
    public const string Failed = "failed";
}
