namespace Capsul.Hub.Features.Payments;

/// <summary>What a provider has against what is here, as of the last time that it was asked.</summary>
/// <param name="Problem">Why it gave no answer then; empty: it did.</param>
/// <param name="At">When they were compared; null: they never were.</param>
/// <param name="Since">Payments that were begun, and payouts that were made, since then were compared.</param>
/// <param name="PaidThere">Payments that were paid, as they were asked for.</param>
/// <param name="SentThere">Our part of what was sent to the bank.</param>
/// <param name="Differences">Payments and refunds that differ.</param>
/// <param name="Unbooked">Payouts that the ledger does not have as they are.</param>
/// <param name="DiffersSince">Since when payments or refunds differ; null: they do not.</param>
public sealed record ProviderTotalRow(string Provider, DateTime Tried, string Problem, DateTime? At, DateTime? Since,
    decimal PaidThere, decimal PaidHere, decimal SentThere, decimal SentHere, long Differences, long Unbooked,
    DateTime? DiffersSince)
{
    public string Name => Providers.PaymentProviders.KindOf(Provider)?.Company ?? Provider;
}

/// <summary>Statements over <c>provider_totals</c>.</summary>
public static class ProviderTotalSql
{
    public const string List = """
        -- ProviderTotalSql.List
        SELECT provider, tried, problem, at, since, paid_there, paid_here, sent_there, sent_here, differences, unbooked,
            differs_since
        FROM provider_totals ORDER BY provider
        """;

    /// <summary>
    /// Never asked, or not since @daily; and sooner, not since @soon, while there is no answer, or a new difference. A
    /// time in the future is of a clock that was wrong.
    /// </summary>
    public const string IsDue = """
        -- ProviderTotalSql.IsDue
        SELECT NOT EXISTS (SELECT FROM provider_totals WHERE provider = @provider AND tried <= @now AND tried > @daily
            AND NOT (tried <= @soon AND (problem <> '' OR coalesce(differs_since > @daily, FALSE))))
        """;

    public const string Record = """
        -- ProviderTotalSql.Record
        INSERT INTO provider_totals AS t (provider, tried, at, since, paid_there, paid_here, sent_there, sent_here,
            differences, unbooked, differs_since)
        VALUES (@provider, @now, @now, @since, @paidThere, @paidHere, @sentThere, @sentHere, @differences, @unbooked,
            CASE WHEN @differences::bigint > 0 OR @paidThere::numeric <> @paidHere::numeric THEN @now::timestamptz END)
        ON CONFLICT (provider) DO UPDATE SET tried = excluded.tried, problem = '', at = excluded.at,
            since = excluded.since, paid_there = excluded.paid_there, paid_here = excluded.paid_here,
            sent_there = excluded.sent_there, sent_here = excluded.sent_here, differences = excluded.differences,
            unbooked = excluded.unbooked,
            differs_since = CASE WHEN excluded.differs_since IS NOT NULL
                THEN least(t.differs_since, excluded.differs_since) END
        """;

    /// <summary>What was compared last stays.</summary>
    public const string RecordProblem = """
        -- ProviderTotalSql.RecordProblem
        INSERT INTO provider_totals (provider, tried, problem) VALUES (@provider, @now, left(@problem, 500))
        ON CONFLICT (provider) DO UPDATE SET tried = excluded.tried, problem = excluded.problem
        """;
}
