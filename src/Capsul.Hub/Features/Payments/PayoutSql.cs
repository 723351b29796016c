namespace Capsul.Hub.Features.Payments;

/// <summary>A payout that is in the ledger.</summary>
public sealed record PayoutRow(string Reference, decimal Amount, decimal Fees, bool Returned);

/// <summary>Statements over <c>provider_payouts</c>. Triggers post them.</summary>
public static class PayoutSql
{
    public const string Known = """
        -- PayoutSql.Known
        SELECT reference, amount, fees, returned FROM provider_payouts
        WHERE provider = @provider AND reference = ANY(@references)
        """;

    /// <summary>Which of these charges are of payments here.</summary>
    public const string OurCharges = """
        -- PayoutSql.OurCharges
        SELECT charge FROM provider_payments WHERE provider = @provider AND charge = ANY(@charges)
        """;

    public const string Add = """
        -- PayoutSql.Add
        INSERT INTO provider_payouts (provider, reference, arrived, amount, fees, recorded, actor)
        VALUES (@provider, @reference, @arrived, @amount, @fees, @now, @actor)
        ON CONFLICT DO NOTHING
        """;

    public const string Return = """
        -- PayoutSql.Return
        UPDATE provider_payouts SET returned = TRUE
        WHERE provider = @provider AND reference = @reference AND NOT returned
        """;
}
