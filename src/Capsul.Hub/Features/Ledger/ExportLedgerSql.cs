namespace Capsul.Hub.Features.Ledger;

/// <summary>A ledger account: a customer's, who has an email address, or one of the installation's own.</summary>
/// <param name="Name">Which provider, if it is one's.</param>
public sealed record LedgerAccountRow(long Id, string Type, string Name, string? Email);

/// <summary>One entry, with its transaction.</summary>
/// <param name="Amount">Debits are positive.</param>
/// <param name="Hour">End of the hour whose usage it is.</param>
/// <param name="Corrects">It is of earlier hours, found when that one was posted.</param>
public sealed record ExportRow(long Transaction, DateTime At, DateTime Posted, string Kind, int? Payment, string Note,
    int Line, long Account, decimal Amount, DateTime? Hour, bool Corrects);

/// <summary>Statements of <see cref="ExportLedger"/>, whose rows are not kept in memory.</summary>
public static class ExportLedgerSql
{
    public const string Accounts = """
        -- ExportLedgerSql.Accounts
        SELECT id, type, name, email FROM ledger_accounts ORDER BY id
        """;

    public const string Entries = """
        -- ExportLedgerSql.Entries
        SELECT t.id AS transaction, t.at, t.posted, t.kind, t.payment, t.note, e.line, e.account, e.amount, e.hour,
            e.corrects
        FROM ledger_transactions t JOIN ledger_entries e ON e.transaction = t.id ORDER BY t.id, e.line
        """;
}
