using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Mails;

/// <summary>A mail to one person, plain text.</summary>
public sealed record Mail(string Recipient, string Subject, string Body)
{
    /// <summary>Stands in the text for <see cref="Secret"/>.</summary>
    public const string SecretMark = "{secret}";

    /// <summary>Known to its reader alone, and sealed (<see cref="MailSeal"/>).</summary>
    public string Secret { get; init; } = "";

    /// <summary>After this it is of no use, and is not sent any more.</summary>
    public DateTime? Expires { get; init; }
}

/// <summary>
/// The outbox. A mail is a row, written in the transaction of what it speaks of: it goes out if and only if that is
/// committed. The acting Hub sends it (<c>MailSender</c>).
/// </summary>
public sealed class Outbox(TimeProvider time)
{
    public Task EnqueueAsync(NpgsqlTransaction transaction, Mail mail, CancellationToken cancel) =>
        transaction.ExecuteAsync(MailSql.Enqueue, new
        {
            recipient = mail.Recipient,
            subject = mail.Subject,
            body = mail.Body,
            secret = mail.Secret,
            expires = mail.Expires,
            now = time.GetUtcNow().UtcDateTime,
        }, cancel);
}
