namespace Capsul.Hub.Features.Receipts;

/// <summary>
/// The tax that is in an amount. Prices include it, so the amount is what was paid, and this is the only place that
/// rounds: the net amount to whole units of the currency, and the tax is what is left.
/// </summary>
public sealed record IncludedTax(decimal Gross, decimal Net, decimal Tax)
{
    /// <param name="gross">What was paid.</param>
    /// <param name="percent">On the net amount.</param>
    /// <param name="decimals">Decimal places of the currency.</param>
    public static IncludedTax Of(decimal gross, decimal percent, int decimals)
    {
        var net = decimal.Round(gross * 100 / (100 + percent), decimals, MidpointRounding.AwayFromZero);
        return new IncludedTax(gross, net, gross - net);
    }

    /// <summary>Exactly taken back.</summary>
    public IncludedTax Reversed => new(-Gross, -Net, -Tax);
}
