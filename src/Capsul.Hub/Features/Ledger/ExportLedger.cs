using System.Data;
using Capsul.Postgres;
using Dapper;

namespace Capsul.Hub.Features.Ledger;

/// <summary>
/// Writes the whole ledger, as it is at one moment, for other programs. It is read and written a transaction at a time,
/// so it may be larger than the memory.
/// </summary>
public static class ExportLedger
{
    /// <summary>Seconds until the first row.</summary>
    const int TimeoutSeconds = 3600;

    public static async Task RunAsync(Db db, LedgerFormat format, TextWriter output, CancellationToken cancel)
    {
        await using var connection = await db.OpenAsync(cancel);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, cancel);
        var currency = await connection.QuerySingleAsync<CurrencyRow>(
            new CommandDefinition(CurrencySql.Find, null, transaction, cancellationToken: cancel));
        var accounts = (await connection.QueryAsync<LedgerAccountRow>(new CommandDefinition(
            ExportLedgerSql.Accounts, null, transaction, TimeoutSeconds, cancellationToken: cancel)))
            .ToDictionary(a => a.Id);
        await output.WriteAsync(format.Head(currency, accounts.Values).AsMemory(), cancel);
        var entries = new List<ExportRow>();
        await foreach (var entry in connection.QueryUnbufferedAsync<ExportRow>(
            ExportLedgerSql.Entries, null, transaction, TimeoutSeconds).WithCancellation(cancel))
        {
            if (entries.Count > 0 && entries[0].Transaction != entry.Transaction)
                await WriteAsync();
            entries.Add(entry);
        }
        if (entries.Count > 0) await WriteAsync();

        async Task WriteAsync()
        {
            await output.WriteAsync(format.Transaction(currency, accounts, entries).AsMemory(), cancel);
            entries.Clear();
        }
    }
}
