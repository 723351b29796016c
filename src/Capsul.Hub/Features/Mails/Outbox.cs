using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Mails;

/// <summary>An email to one person, plain text.</summary>
public sealed record Mail(string Recipient, string Subject, string Body)
{
    /// <summary>Placeholder in the text for <see cref="Secret"/>.</summary>
    public const string SecretMark = "{secret}";

    /// <summary>For the recipient only; stored encrypted (<see cref="MailSeal"/>).</summary>
    public string Secret { get; init; } = "";

    /// <summary>After this time it is no longer sent.</summary>
    public DateTime? Expires { get; init; }
}

/// <summary>
/// The outbox. An email is a row, written in the transaction of the change that it is about: it is sent if and only if
/// that commits. The active Hub sends it (<c>MailSender</c>).
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
