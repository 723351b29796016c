using System.Globalization;
using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Ledger;

/// <summary>
/// What the ledger has of an account before a month, and the usage and the rest that is posted in it.
/// </summary>
public sealed record MonthSumsRow(decimal Opening, decimal Usage, decimal Lines);

/// <summary>A line of the ledger that is not usage.</summary>
/// <param name="Amount">What it did to the balance.</param>
/// <param name="Receipt">Number of its receipt or credit note, if it was made.</param>
public sealed record MonthLineRow(
    long Id, DateTime At, string Kind, int? Payment, string? Method, string Note, decimal Amount, int? Receipt);

/// <summary>The tax in the payments of the month, by one rate.</summary>
/// <param name="Net">Without it.</param>
public sealed record MonthTaxRow(string Label, decimal Percent, decimal Net, decimal Tax)
{
    /// <summary>What it is called, with the rate.</summary>
    public string Name => $"{Label}, {Percent.ToString("0.##", CultureInfo.InvariantCulture)} %";
}

/// <summary>The charged time of a VM, or of extras of it, at one price.</summary>
/// <param name="Size">Or the kind of the extras.</param>
/// <param name="Dollars">Exactly.</param>
/// <param name="Total">Exactly, of all of them.</param>
public sealed record MonthUsageRow(
    string Vm, string Name, string Size, decimal Seconds, decimal DollarsPerMonth, decimal Dollars, decimal Total);

/// <summary>
/// Statements of the monthly statement. Usage that is posted at the end of an hour is of the time before it; times are
/// UTC.
/// </summary>
public static class MonthSql
{
    const string Account = "e.account = (SELECT id FROM ledger_accounts WHERE email = @email)";

    /// <summary>One row, also for an account without entries.</summary>
    public const string Sums = $"""
        -- MonthSql.Sums
        SELECT coalesce(-sum(e.amount) FILTER (WHERE CASE WHEN t.kind IN ('usage', 'correction') THEN t.at <= @from
                ELSE t.at < @from END), 0) AS opening,
            coalesce(sum(e.amount) FILTER (WHERE t.kind IN ('usage', 'correction') AND t.at > @from), 0) AS usage,
            coalesce(-sum(e.amount) FILTER (WHERE t.kind NOT IN ('usage', 'correction') AND t.at >= @from
                AND t.at < @until), 0) AS lines
        FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction
        WHERE {Account} AND t.at <= @until
        """;

    public const string Lines = $"""
        -- MonthSql.Lines
        SELECT t.id, t.at, t.kind, t.payment, p.method, t.note, -e.amount AS amount, r.number AS receipt
        FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction
            LEFT JOIN payments p ON p.id = t.payment LEFT JOIN receipts r ON r.transaction = t.id
        WHERE {Account} AND t.kind NOT IN ('usage', 'correction') AND t.at >= @from AND t.at < @until
        ORDER BY t.at, t.id LIMIT @limit
        """;

    /// <summary>As on the receipts of these lines, whether they were made or not.</summary>
    public const string Taxes = $"""
        -- MonthSql.Taxes
        SELECT s.tax_label AS label, s.tax_percent AS percent, sum(x.net) AS net, sum(x.tax) AS tax
        FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction
            JOIN payment_taxes x ON x.transaction = t.id JOIN sellers s ON s.id = x.seller
        WHERE {Account} AND t.at >= @from AND t.at < @until AND s.tax_label <> ''
        GROUP BY s.tax_label, s.tax_percent ORDER BY s.tax_label, s.tax_percent
        """;

    /// <summary>Until @until, or until now if that is earlier.</summary>
    public const string Usage = $"""
        -- MonthSql.Usage
        SELECT v.id AS vm, v.name, coalesce(u.extra, v.size) AS size, sum(u.seconds) AS seconds, u.dollars_per_month,
            u.dollars_per_month * sum(u.seconds) / ({Prices.DaysPerMonthText} * 86400) AS dollars,
            sum(u.dollars_per_month * sum(u.seconds)) OVER () / ({Prices.DaysPerMonthText} * 86400) AS total
        FROM vms v, LATERAL (
                SELECT s.dollars_per_month, (SELECT x.kind FROM vm_extras x WHERE x.id = s.extra) AS extra,
                    extract(epoch FROM least(coalesce(upper(s.span), @now), @until, @now)
                        - greatest(lower(s.span), @from)) AS seconds
                FROM usage_spans s
                WHERE s.vm = v.id AND s.email = @email AND s.span && tstzrange(@from, @until)
                    AND coalesce(upper(s.span), 'infinity'::timestamptz) > @from) AS u
        WHERE v.email = @email AND v.created < @until AND u.seconds > 0
        GROUP BY v.id, u.extra, u.dollars_per_month
        ORDER BY v.created, v.id, u.extra NULLS FIRST, min(u.dollars_per_month) LIMIT @limit
        """;
}
