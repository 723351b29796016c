namespace Capsul.Hub.Features.Ledger;

/// <summary>What the last hourly verification found.</summary>
public sealed record LedgerCheckRow(DateTime At, int Differences, long Transactions, long Entries);

/// <summary>Statements over the outcome of the hourly verification, which the public page shows.</summary>
public static class LedgerCheckSql
{
    public const string Record = """
        -- LedgerCheckSql.Record
        INSERT INTO ledger_checks (at, differences, transactions, entries)
        VALUES (@now, @differences, @transactions, @entries)
        ON CONFLICT (only_row) DO UPDATE SET at = excluded.at, differences = excluded.differences,
            transactions = excluded.transactions, entries = excluded.entries
        """;

    public const string RecordSums = """
        -- LedgerCheckSql.RecordSums
        INSERT INTO ledger_sums (type, name, accounts, amount)
        SELECT * FROM unnest(@types::text[], @names::text[], @accounts::bigint[], @amounts::numeric[])
        ON CONFLICT (type, name) DO UPDATE SET accounts = excluded.accounts, amount = excluded.amount
        """;

    public const string Find = """
        -- LedgerCheckSql.Find
        SELECT at, differences, transactions, entries FROM ledger_checks
        """;

    public const string ListSums = """
        -- LedgerCheckSql.ListSums
        SELECT type, name, accounts, amount FROM ledger_sums ORDER BY type, name
        """;
}
