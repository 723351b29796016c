namespace Capsul.Hub.Features.Billing;

/// <summary>What an account has at a moment. Filled by <see cref="BillingSql.Balance"/>.</summary>
/// <param name="Paid">Valid payments, dollars.</param>
/// <param name="Used">Cost of all VMs by the second, dollars.</param>
/// <param name="DollarsPerMonth">What the VMs that are charged now cost together.</param>
public sealed record Balance(decimal Paid, decimal Used, decimal DollarsPerMonth)
{
    /// <summary>Days in a month, for prices: 365.25 / 12, rounded.</summary>
    public const decimal DaysPerMonth = 30.44m;

    /// <summary>Never rounded; below zero when time ran past the money, or a payment was invalidated.</summary>
    public decimal Dollars => Paid - Used;

    /// <summary>How many days the balance lasts at present spending; null when nothing is spent.</summary>
    public decimal? RunwayDays => DollarsPerMonth == 0 ? null : Math.Max(0, Dollars / (DollarsPerMonth / DaysPerMonth));
}
