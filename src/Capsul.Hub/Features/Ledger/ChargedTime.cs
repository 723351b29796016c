using Capsul.Postgres;

namespace Capsul.Hub.Features.Ledger;

/// <summary>What is behind a line of a statement: the charged time of an account's VMs, and their operations.</summary>
public sealed record ChargedTime(DateTime From, DateTime Until,
    IReadOnlyList<StatementSpanRow> Spans, IReadOnlyList<StatementOperationRow> Operations)
{
    /// <summary>Rows of each list.</summary>
    const int MostRows = 200;

    /// <summary>There is more charged time than is listed: what is listed is no sum of it.</summary>
    public bool IsCut => Spans.Count == MostRows;

    /// <summary>Seconds since 1970 that a time can have.</summary>
    public const long LastSecond = 253_402_300_800;

    public static async Task<ChargedTime> LoadAsync(
        Db db, string email, DateTime from, DateTime until, DateTime now, CancellationToken cancel)
    {
        var asked = new { email, from, until, now, limit = MostRows };
        return new ChargedTime(from, until,
            await db.ListAsync<StatementSpanRow>(LedgerPageSql.Spans, asked, cancel),
            await db.ListAsync<StatementOperationRow>(LedgerPageSql.Operations, asked, cancel));
    }
}
