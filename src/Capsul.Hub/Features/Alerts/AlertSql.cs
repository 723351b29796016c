namespace Capsul.Hub.Features.Alerts;

/// <summary>Something that needs an operator's attention.</summary>
public sealed record AlertRow(string Kind, string Subject, string Message, DateTime Raised);

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
