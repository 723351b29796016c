using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using MailKit;
using MailKit.Net.Smtp;
using MailKit.Security;
using Microsoft.Extensions.Logging;
using MimeKit;
using Npgsql;

namespace Capsul.Hub.Features.Mails;

/// <summary>
/// Sends the emails in the outbox. An email is claimed before it is sent: the claim counts the attempt and schedules
/// the next one (after a minute, doubling to four hours), so a Hub that crashes in between loses nothing, and two Hubs
/// never send the same one. After three days, or when the server permanently rejects the recipient, it is given up; the
/// reason stays in the row. An email is sent twice only if the Hub crashes after the server accepted it and before that
/// is recorded; both copies then have the same Message-Id. Without an SMTP server, emails stay in the outbox.
/// </summary>
public sealed partial class MailSender(
    Db db, Fence fence, MailSeal seal, Settings settings, Listener listener, TimeProvider time, ILogger<MailSender> log)
    : IActingWork
{
    public string Name => "The mail sender";

    static readonly TimeSpan FirstRetry = TimeSpan.FromMinutes(1),
        LongestRetry = TimeSpan.FromHours(4), GiveUpAfter = TimeSpan.FromDays(3);

    /// <summary>
    /// For one email, including connecting. Shorter than the first retry delay, which is how long a claim lasts.
    /// </summary>
    static readonly TimeSpan MailTimeout = TimeSpan.FromSeconds(40);

    /// <summary>
    /// When the server does not respond, all emails wait this long, so that a long queue does not hammer it.
    /// </summary>
    static readonly TimeSpan PauseAfterNoServer = TimeSpan.FromSeconds(20);

    /// <summary>Longest sleep; a lost notification delays an email by no more than this.</summary>
    static readonly TimeSpan LongestSleep = TimeSpan.FromMinutes(1);

    const int MaxProblemChars = 500;

    bool serverAnswered = true;

    DateTime Now => time.GetUtcNow().UtcDateTime;

    /// <summary>Sends for as long as this Hub holds the seat. Waits for a database that does not respond.</summary>
    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        using var news = listener.Subscribe(Listener.Mails);
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                await SendDueAsync(epoch, cancel);
                await news.WaitAsync(await SleepForAsync(cancel), cancel);
            }
            catch (NpgsqlException error)
            {
                Log.NoDatabase(log, error.Message);
                await news.WaitAsync(PauseAfterNoServer, cancel);
            }
        }
    }

    /// <summary>
    /// Sends the emails that are due, one after another over one connection; returns how many the server accepted.
    /// </summary>
    public async Task<int> SendDueAsync(long epoch, CancellationToken cancel)
    {
        serverAnswered = true;
        await fence.ExecuteAsync(epoch, MailSql.Expire,
            new { now = Now, problem = "It expired before it could be sent." }, cancel);
        if (settings.SmtpHost is not { } host)
            return 0;
        var count = 0;
        // The certificate itself is checked. Its revocation list is on another server, for which an email should not
        // have to wait.
        using var smtp =
            new SmtpClient { Timeout = (int)MailTimeout.TotalMilliseconds, CheckCertificateRevocation = false };
        while (serverAnswered && await ClaimAsync(epoch, cancel) is { } mail)
        {
            if (await TrySendAsync(smtp, host, mail, cancel))
                count++;
        }
        if (smtp.IsConnected)
            await smtp.DisconnectAsync(quit: true, cancel);
        return count;
    }

    /// <summary>
    /// Only the active Hub claims. The outcome is recorded by whoever claimed the email, under the number of the
    /// attempt, even if the seat has been lost since.
    /// </summary>
    Task<DueMailRow?> ClaimAsync(long epoch, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, transaction => transaction.FindAsync<DueMailRow>(MailSql.Claim,
            new { now = Now, first = FirstRetry.TotalSeconds, longest = LongestRetry.TotalSeconds }, cancel), cancel);

    async Task<bool> TrySendAsync(SmtpClient smtp, string host, DueMailRow mail, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(MailTimeout);
        if (seal.Open(mail.Body, mail.Secret) is not { } text)
        {
            await NoteAsync(mail, "Its secret was encrypted with another secret key.", final: true, cancel);
            return false;
        }
        try
        {
            await ConnectAsync(smtp, host, limit.Token);
            await smtp.SendAsync(Compose(mail, text), limit.Token);
        }
        catch (Exception error) when (IsExpected(error) && !cancel.IsCancellationRequested)
        {
            await NoteAsync(mail, error, cancel);
            // After an error the state of the SMTP session is unknown; the next email starts a new one.
            if (smtp.IsConnected)
                await smtp.DisconnectAsync(quit: false, cancel);
            return false;
        }
        await db.ExecuteAsync(MailSql.Sent, new { id = mail.Id, attempt = mail.Attempt, now = Now }, cancel);
        Log.Sent(log, mail.Id, mail.Attempt);
        return true;
    }

    async Task ConnectAsync(SmtpClient smtp, string host, CancellationToken cancel)
    {
        if (smtp.IsConnected)
            return;
        serverAnswered = false;
        await SignInAsync(smtp, host, settings, cancel);
        serverAnswered = true;
    }

    internal static async Task SignInAsync(SmtpClient smtp, string host, Settings settings, CancellationToken cancel)
    {
        await smtp.ConnectAsync(host, settings.SmtpPort, settings.SmtpTls switch
        {
            "tls" => SecureSocketOptions.SslOnConnect,
            "none" => SecureSocketOptions.None,
            _ => SecureSocketOptions.StartTls,
        }, cancel);
        if (settings.SmtpUser is { } user)
            await smtp.AuthenticateAsync(user, settings.SmtpPassword ?? "", cancel);
    }

    MimeMessage Compose(DueMailRow mail, string text)
    {
        var from = MailboxAddress.Parse(settings.MailFrom);
        var message = new MimeMessage
        {
            Subject = mail.Subject,
            Date = new DateTimeOffset(mail.Created, TimeSpan.Zero),
            MessageId = $"capsul-mail-{mail.Id}-{mail.Created.Ticks:x}@"
                + (from.Domain.Length > 0 ? from.Domain : "localhost"),
            Body = new MultipartAlternative
            {
                new TextPart("plain") { Text = text },
                new TextPart("html") { Text = MailHtml.Write(mail.Subject, text) },
            },
        };
        message.From.Add(from);
        message.To.Add(new MailboxAddress("", mail.Recipient));
        message.Headers.Add("Auto-Submitted", "auto-generated");
        return message;
    }

    async Task NoteAsync(DueMailRow mail, Exception error, CancellationToken cancel)
    {
        var text = string.Join(' ', error.Message.Split(
            (char[])['\r', '\n', '\t', '\0'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        var problem = text.Length > MaxProblemChars ? text[..MaxProblemChars] : text;
        await NoteAsync(mail, problem, IsFinal(error) || Now - mail.Created >= GiveUpAfter, cancel);
    }

    async Task NoteAsync(DueMailRow mail, string problem, bool final, CancellationToken cancel)
    {
        await db.ExecuteAsync(final ? MailSql.GiveUp : MailSql.Failed,
            new { id = mail.Id, attempt = mail.Attempt, problem, now = Now }, cancel);
        if (final) Log.GivenUp(log, mail.Id, mail.Attempt, problem);
        else Log.Failed(log, mail.Id, mail.Attempt, problem);
    }

    /// <summary>Failures of the network or the server; anything else is a bug.</summary>
    internal static bool IsExpected(Exception error) =>
        error is SmtpCommandException or SmtpProtocolException or AuthenticationException or SslHandshakeException
            or ServiceNotConnectedException or ServiceNotAuthenticatedException
            or NotSupportedException or SocketException or IOException
            or TimeoutException or OperationCanceledException or ParseException;

    /// <summary>
    /// The server permanently rejects the recipient. Any other rejection may be due to settings, and is retried.
    /// </summary>
    static bool IsFinal(Exception error) =>
        error is SmtpCommandException
        {
            ErrorCode: SmtpErrorCode.RecipientNotAccepted, StatusCode: >= (SmtpStatusCode)500,
        };

    async Task<TimeSpan> SleepForAsync(CancellationToken cancel)
    {
        if (settings.SmtpHost is null || await db.FindAsync<DateTime?>(MailSql.NextRun, null, cancel) is not { } next)
            return LongestSleep; // Without a server, this only waits for expiry, which may be a minute late.
        var sleep = next - Now;
        var least = serverAnswered ? TimeSpan.Zero : PauseAfterNoServer;
        return sleep < least ? least : sleep > LongestSleep ? LongestSleep : sleep;
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3100, Level = LogLevel.Information,
            Message = "Mail {Id} was sent at attempt {Attempt}")]
        public static partial void Sent(ILogger log, long id, int attempt);

        [LoggerMessage(EventId = 3101, Level = LogLevel.Warning,
            Message = "Mail {Id} was not sent at attempt {Attempt} and will be tried again: {Problem}")]
        public static partial void Failed(ILogger log, long id, int attempt, string problem);

        [LoggerMessage(EventId = 3102, Level = LogLevel.Error,
            Message = "Mail {Id} was given up at attempt {Attempt}: {Problem}")]
        public static partial void GivenUp(ILogger log, long id, int attempt, string problem);

        [LoggerMessage(EventId = 3103, Level = LogLevel.Warning,
            Message = "The outbox waits for the database: {Problem}")]
        public static partial void NoDatabase(ILogger log, string problem);
    }
}
