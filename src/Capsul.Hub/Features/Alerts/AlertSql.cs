namespace Capsul.Hub.Features.Alerts;

/// <summary>Something that needs an operator's attention.</summary>
public sealed record AlertRow(string Kind, string Subject, string Message, DateTime Raised);

/// <summary>An alert to raise, unless it is open already.</summary>
public sealed record NewAlert(string Kind, string Subject, string Message);

/// <summary>It is resolved.</summary>
public sealed record ClearedAlertRow(string Kind, string Subject, string Message, DateTime Raised, DateTime Cleared);

public static class AlertSql
{
    /// <summary>True when it is new; for an open alert, only the message is updated.</summary>
    public const string Raise = """
        -- AlertSql.Raise
        INSERT INTO alerts (kind, subject, message, raised) VALUES (@kind, @subject, @message, @now)
        ON CONFLICT (kind, subject) WHERE cleared IS NULL DO UPDATE SET message = excluded.message
        RETURNING xmax = 0
        """;

    public const string Clear = """
        -- AlertSql.Clear
        UPDATE alerts SET cleared = greatest(@now, raised) WHERE kind = @kind AND subject = @subject AND cleared IS NULL
        """;

    /// <summary>The same for many; returns those that are new.</summary>
    public const string RaiseMany = """
        -- AlertSql.RaiseMany
        WITH written AS (
            INSERT INTO alerts AS a (kind, subject, message, raised)
            SELECT n.kind, n.subject, n.message, @now
            FROM unnest(@kinds::text[], @subjects::text[], @messages::text[]) AS n (kind, subject, message)
            ON CONFLICT (kind, subject) WHERE cleared IS NULL DO UPDATE SET message = excluded.message
            RETURNING a.kind, a.subject, a.message, xmax = 0 AS is_new)
        SELECT kind, subject, message FROM written WHERE is_new ORDER BY kind, subject
        """;

    public const string ClearMany = """
        -- AlertSql.ClearMany
        UPDATE alerts a SET cleared = greatest(@now, a.raised)
        FROM unnest(@kinds::text[], @subjects::text[]) AS n (kind, subject)
        WHERE a.kind = n.kind AND a.subject = n.subject AND a.cleared IS NULL
        """;

    /// <summary>What an alert is about is gone.</summary>
    public const string ClearSubject = """
        -- AlertSql.ClearSubject
        UPDATE alerts SET cleared = greatest(@now, raised) WHERE subject = @subject AND cleared IS NULL
        """;

    /// <summary>What an alert is about has another name.</summary>
    public const string Rename = """
        -- AlertSql.Rename
        UPDATE alerts SET subject = @name WHERE subject = @subject AND cleared IS NULL
        """;

    /// <summary>Whether the schema is new enough to have the table.</summary>
    public const string TableExists = """
        -- AlertSql.TableExists
        SELECT to_regclass('alerts') IS NOT NULL
        """;

    /// <summary>The newest ones.</summary>
    public const string Cleared = """
        -- AlertSql.Cleared
        SELECT kind, subject, message, raised, cleared FROM alerts WHERE cleared IS NOT NULL
        ORDER BY cleared DESC, id DESC LIMIT @limit
        """;

    public const string Open = """
        -- AlertSql.Open
        SELECT kind, subject, message, raised FROM alerts WHERE cleared IS NULL ORDER BY raised
        """;
}
