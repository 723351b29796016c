using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Storage;

public static class AuditSql
{
    public const string Insert = """
        -- AuditSql.Insert
        INSERT INTO audit_lines (actor, action, subject, detail) VALUES (@actor, @action, @subject, @detail)
        """;

    public const string InsertMany = """
        -- AuditSql.InsertMany
        INSERT INTO audit_lines (actor, action, subject, detail)
        SELECT @actor, @action, subject, detail FROM unnest(@subjects::text[], @details::text[]) AS n (subject, detail)
        """;

    /// <summary>Who did what to what, in the transaction that does it.</summary>
    public static Task AuditAsync(
        this NpgsqlTransaction transaction, string actor, string action,
        string subject, string detail, CancellationToken cancel) =>
        transaction.ExecuteAsync(Insert, new { actor, action, subject, detail }, cancel);
}
