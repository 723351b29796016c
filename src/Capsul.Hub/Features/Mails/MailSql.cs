namespace Capsul.Hub.Features.Mails;

/// <summary>Statements over <c>mails</c>, the outbox.</summary>
public static class MailSql
{
    public const string Enqueue = """
        -- MailSql.Enqueue
        INSERT INTO mails (recipient, subject, body, created, run_at) VALUES (@recipient, @subject, @body, @now, @now)
        """;

    public sealed record Due(long Id, string Recipient, string Subject, string Body, DateTime Created, int Attempt);

    /// <summary>Takes one mail: counts the attempt and puts the next one far enough away that nobody else takes it meanwhile.</summary>
    public const string Claim = """
        -- MailSql.Claim
        UPDATE mails SET
            attempt = attempt + 1,
            run_at = @now + make_interval(secs => LEAST(@first * power(2, LEAST(attempt, 20)), @longest))
        WHERE id = (
            SELECT id FROM mails WHERE sent IS NULL AND given_up IS NULL AND run_at <= @now
            ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, recipient, subject, body, created, attempt
        """;

    /// <summary>The text goes, because it may hold a link that signs somebody in.</summary>
    public const string Sent = """
        -- MailSql.Sent
        UPDATE mails SET sent = @now, problem = NULL, body = ''
        WHERE id = @id AND attempt = @attempt AND sent IS NULL AND given_up IS NULL
        """;

    public const string Failed = """
        -- MailSql.Failed
        UPDATE mails SET problem = @problem
        WHERE id = @id AND attempt = @attempt AND sent IS NULL AND given_up IS NULL
        """;

    public const string GiveUp = """
        -- MailSql.GiveUp
        UPDATE mails SET given_up = @now, problem = @problem, body = ''
        WHERE id = @id AND attempt = @attempt AND sent IS NULL AND given_up IS NULL
        """;

    public const string NextRun = """
        -- MailSql.NextRun
        SELECT min(run_at) FROM mails WHERE sent IS NULL AND given_up IS NULL
        """;

    public sealed record Shown(long Id, string Recipient, string Subject, string Body, DateTime Created, DateTime? Sent, DateTime? GivenUp, string? Problem);

    public const string Newest = """
        -- MailSql.Newest
        SELECT id, recipient, subject, body, created, sent, given_up, problem FROM mails ORDER BY id DESC LIMIT 50
        """;
}
