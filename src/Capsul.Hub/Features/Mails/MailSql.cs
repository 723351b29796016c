namespace Capsul.Hub.Features.Mails;

public sealed record DueMailRow(
    long Id, string Recipient, string Subject, string Body, string Secret, DateTime Created, int Attempt);

public sealed record ShownMailRow(
    long Id, string Recipient, string Subject, string Body, string Secret, DateTime Created, DateTime? Sent,
    DateTime? GivenUp, string? Problem);

/// <summary>Statements over <c>mails</c>, the outbox.</summary>
public static class MailSql
{
    public const string Enqueue = """
        -- MailSql.Enqueue
        INSERT INTO mails (recipient, subject, body, secret, expires, created, run_at)
        VALUES (@recipient, @subject, @body, @secret, @expires, @now, @now) RETURNING id
        """;

    public const string EnqueueMany = """
        -- MailSql.EnqueueMany
        INSERT INTO mails (recipient, subject, body, created, run_at)
        SELECT recipient, subject, body, @now, @now
        FROM unnest(@recipients::text[], @subjects::text[], @bodies::text[]) AS m (recipient, subject, body)
        """;

    /// <summary>
    /// Claims one email: counts the attempt and schedules the next one late enough that nobody else takes it meanwhile.
    /// </summary>
    public const string Claim = """
        -- MailSql.Claim
        UPDATE mails SET
            attempt = attempt + 1,
            run_at = @now + make_interval(secs => LEAST(@first * power(2, LEAST(attempt, 20)), @longest))
        WHERE id = (
            SELECT id FROM mails WHERE sent IS NULL AND given_up IS NULL AND run_at <= @now
            ORDER BY run_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, recipient, subject, body, secret, created, attempt
        """;

    /// <summary>Gives up expired emails and deletes their secrets.</summary>
    public const string Expire = """
        -- MailSql.Expire
        UPDATE mails SET given_up = @now, problem = @problem, secret = ''
        WHERE sent IS NULL AND given_up IS NULL AND expires <= @now
        """;

    /// <summary>Deletes text and secret: they are the recipient's.</summary>
    public const string Sent = """
        -- MailSql.Sent
        UPDATE mails SET sent = @now, problem = NULL, body = '', secret = ''
        WHERE id = @id AND attempt = @attempt AND sent IS NULL AND given_up IS NULL
        """;

    public const string Failed = """
        -- MailSql.Failed
        UPDATE mails SET problem = @problem
        WHERE id = @id AND attempt = @attempt AND sent IS NULL AND given_up IS NULL
        """;

    public const string GiveUp = """
        -- MailSql.GiveUp
        UPDATE mails SET given_up = @now, problem = @problem, body = '', secret = ''
        WHERE id = @id AND attempt = @attempt AND sent IS NULL AND given_up IS NULL
        """;

    public const string NextRun = """
        -- MailSql.NextRun
        SELECT min(least(run_at, expires)) FROM mails WHERE sent IS NULL AND given_up IS NULL
        """;

    public const string Newest = """
        -- MailSql.Newest
        SELECT id, recipient, subject, body, secret, created, sent, given_up, problem FROM mails ORDER BY id DESC
        LIMIT 50
        """;
}
