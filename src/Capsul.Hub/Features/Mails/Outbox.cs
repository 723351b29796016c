using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Mails;

/// <summary>A mail to one person, plain text.</summary>
public sealed record Mail(string Recipient, string Subject, string Body);

/// <summary>
/// The outbox. A mail is a row, written in the transaction of what it speaks of: it goes out if and only if that is committed.
/// The seat holder sends it (<c>MailSender</c>).
/// </summary>
public sealed class Outbox(TimeProvider time)
{
    public Task EnqueueAsync(NpgsqlTransaction transaction, Mail mail, CancellationToken cancel) =>
        transaction.ExecuteAsync(MailSql.Enqueue,
            new { recipient = mail.Recipient, subject = mail.Subject, body = mail.Body, now = time.GetUtcNow().UtcDateTime }, cancel);
}
