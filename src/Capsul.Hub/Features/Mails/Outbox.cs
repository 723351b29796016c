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
    /// <returns>Its ID.</returns>
    public Task<long> EnqueueAsync(NpgsqlTransaction transaction, Mail mail, CancellationToken cancel) =>
        transaction.AskAsync<long>(MailSql.Enqueue, new
        {
            recipient = mail.Recipient,
            subject = mail.Subject,
            body = mail.Body,
            secret = mail.Secret,
            expires = mail.Expires,
            now = time.GetUtcNow().UtcDateTime,
        }, cancel);

    /// <summary>Emails without a secret, in one statement.</summary>
    public Task EnqueueManyAsync(NpgsqlTransaction transaction, IReadOnlyList<Mail> mails, CancellationToken cancel) =>
        mails.Count == 0 ? Task.CompletedTask : transaction.ExecuteAsync(MailSql.EnqueueMany, new
        {
            recipients = mails.Select(m => m.Recipient).ToArray(),
            subjects = mails.Select(m => m.Subject).ToArray(),
            bodies = mails.Select(m => m.Body).ToArray(),
            now = time.GetUtcNow().UtcDateTime,
        }, cancel);
}
