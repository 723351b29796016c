namespace Capsul.Hub.Features.Alerts;

/// <summary>Something that needs an operator's attention.</summary>
public sealed record AlertRow(string Kind, string Subject, string Message, DateTime Raised);

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

    /// <summary>Whether the schema is new enough to have the table.</summary>
    public const string TableExists = """
        -- AlertSql.TableExists
        SELECT to_regclass('alerts') IS NOT NULL
        """;

    public const string Open = """
        -- AlertSql.Open
        SELECT kind, subject, message, raised FROM alerts WHERE cleared IS NULL ORDER BY raised
        """;
}
