using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Storage;
using Capsul.Tests.Support;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Features.Mails;

public sealed class MailSenderTests : IAsyncLifetime
{
    readonly FakeTimeProvider time = new(new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero));
    readonly MailSeal seal = new(new EphemeralDataProtectionProvider());
    TestDatabase database = null!;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => database = await TestDatabase.CreateAsync();

    public ValueTask DisposeAsync() => database.DisposeAsync();

    [Fact]
    public async Task An_email_arrives_unchanged_and_once_and_its_text_is_deleted()
    {
        await using var sink = new SmtpSink();
        await EnqueueAsync("ada@example.org",
            "Grüße\n\n.a line that begins with a dot\nhttps://capsul.example.org/sign-in/secret");
        (await Sender(sink.Port).SendDueAsync(0, Cancel)).ShouldBe(1);
        (await Sender(sink.Port).SendDueAsync(0, Cancel)).ShouldBe(0);

        var (recipient, text) = sink.Received.Single();
        recipient.ShouldBe("ada@example.org");
        text.ShouldContain("From: Capsul <no-reply@localhost>");
        text.ShouldContain("To: ada@example.org");
        text.ShouldContain("Auto-Submitted: auto-generated");
        using var stream = new MemoryStream(System.Text.Encoding.Latin1.GetBytes(text));
        using var message = await MimeKit.MimeMessage.LoadAsync(stream, Cancel);
        message.Subject.ShouldBe("Héllo");
        message.TextBody!.ReplaceLineEndings("\n").Trim()
            .ShouldBe("Grüße\n\n.a line that begins with a dot\nhttps://capsul.example.org/sign-in/secret");

        var row = await RowAsync();
        row.Sent.ShouldBe(time.GetUtcNow().UtcDateTime);
        row.Body.ShouldBe("");
    }

    [Fact]
    public async Task A_secret_is_encrypted_in_the_outbox_and_filled_in_in_the_email()
    {
        await using var sink = new SmtpSink();
        await EnqueueAsync(new Mail("ada@example.org", "s", $"https://capsul.example.org/sign-in/{Mail.SecretMark}")
        {
            Secret = seal.Seal("t0ken"),
        });
        (await database.Db.FindAsync<string>("SELECT mails::text FROM mails", null, Cancel))!.ShouldNotContain("t0ken");
        (await Sender(sink.Port).SendDueAsync(0, Cancel)).ShouldBe(1);
        sink.Received.Single().Text.ShouldContain("https://capsul.example.org/sign-in/t0ken");
        (await RowAsync()).Secret.ShouldBe("");
    }

    [Fact]
    public async Task An_expired_email_is_not_sent_and_its_secret_is_deleted_even_without_a_server()
    {
        await using var sink = new SmtpSink();
        var expires = time.GetUtcNow().UtcDateTime.AddMinutes(20);
        await EnqueueAsync(
            new Mail("ada@example.org", "s", Mail.SecretMark) { Secret = seal.Seal("t0ken"), Expires = expires });
        time.Advance(TimeSpan.FromMinutes(20));
        (await Sender(sink.Port, ("CAPSUL_SMTP_HOST", null)).SendDueAsync(0, Cancel)).ShouldBe(0);
        var row = await RowAsync();
        (row.Secret, row.GivenUp).ShouldBe(("", expires));
        (await Sender(sink.Port).SendDueAsync(0, Cancel)).ShouldBe(0);
        sink.Received.ShouldBeEmpty();
    }

    [Fact]
    public async Task An_email_whose_secret_has_another_key_is_given_up_with_the_reason()
    {
        await using var sink = new SmtpSink();
        var other = new MailSeal(new EphemeralDataProtectionProvider());
        await EnqueueAsync(new Mail("ada@example.org", "s", Mail.SecretMark) { Secret = other.Seal("t0ken") });
        (await Sender(sink.Port).SendDueAsync(0, Cancel)).ShouldBe(0);
        sink.Received.ShouldBeEmpty();
        (await RowAsync()).Problem!.ShouldContain("another secret key");
    }

    [Fact]
    public async Task A_server_that_is_down_is_retried_until_the_email_arrives_exactly_once()
    {
        int port;
        await using (var gone = new SmtpSink())
            port = gone.Port;
        await EnqueueAsync("ada@example.org", "text");
        (await Sender(port).SendDueAsync(0, Cancel)).ShouldBe(0);
        (await RowAsync()).Problem.ShouldNotBeNullOrEmpty();
        (await RunAtAsync()).ShouldBe(time.GetUtcNow().UtcDateTime.AddMinutes(1));

        await using var sink = new SmtpSink(port);
        (await Sender(port).SendDueAsync(0, Cancel)).ShouldBe(0, "it is not yet due");
        time.Advance(TimeSpan.FromMinutes(1));
        (await Sender(port).SendDueAsync(0, Cancel)).ShouldBe(1);
        time.Advance(TimeSpan.FromDays(1));
        (await Sender(port).SendDueAsync(0, Cancel)).ShouldBe(0);
        sink.Received.Count.ShouldBe(1);
        (await RowAsync()).Problem.ShouldBeNull();
    }

    [Fact]
    public async Task The_delay_doubles_up_to_four_hours_and_retries_end_after_three_days()
    {
        await using var sink = new SmtpSink { HangsUpAfterData = true };
        await EnqueueAsync("ada@example.org", "text");
        var pauses = new List<double>();
        while ((await RowAsync()).GivenUp is null && pauses.Count < 100)
        {
            (await Sender(sink.Port).SendDueAsync(0, Cancel)).ShouldBe(0);
            var pause = await RunAtAsync() - time.GetUtcNow().UtcDateTime;
            pauses.Add(pause.TotalMinutes);
            time.Advance(pause);
        }
        pauses.Take(10).ShouldBe([1, 2, 4, 8, 16, 32, 64, 128, 240, 240]);
        pauses.Count.ShouldBeLessThan(40);
        var row = await RowAsync();
        row.Problem.ShouldNotBeNullOrEmpty();
        row.Body.ShouldBe("");
        (row.GivenUp!.Value - row.Created).ShouldBeGreaterThanOrEqualTo(TimeSpan.FromDays(3));
    }

    [Fact]
    public async Task An_unknown_recipient_is_given_up_and_others_still_get_their_email()
    {
        await using var sink = new SmtpSink();
        sink.Refuses["nobody@example.org"] = "550 5.1.1 No such user here";
        sink.Refuses["full@example.org"] = "452 4.2.2 Mailbox full";
        await EnqueueAsync("nobody@example.org", "text");
        await EnqueueAsync("full@example.org", "text");
        await EnqueueAsync("ada@example.org", "text");
        (await Sender(sink.Port).SendDueAsync(0, Cancel)).ShouldBe(1);

        var rows = (await database.Db.ListAsync<ShownMailRow>(MailSql.Newest, null, Cancel))
            .ToDictionary(r => r.Recipient, StringComparer.Ordinal);
        rows["nobody@example.org"].GivenUp.ShouldNotBeNull();
        rows["nobody@example.org"].Problem!.ShouldContain("No such user here");
        rows["full@example.org"].GivenUp.ShouldBeNull();
        rows["full@example.org"].Problem!.ShouldContain("Mailbox full");
        rows["ada@example.org"].Sent.ShouldNotBeNull();
    }

    [Fact]
    public async Task Signs_in_to_the_server_when_a_user_is_set()
    {
        await using var sink = new SmtpSink();
        await EnqueueAsync("ada@example.org", "text");
        (await Sender(sink.Port, ("CAPSUL_SMTP_USER", "capsul"), ("CAPSUL_SMTP_PASSWORD", "s3cret"))
            .SendDueAsync(0, Cancel)).ShouldBe(1);
        sink.Credentials.Single().ShouldBe("\0capsul\0s3cret");
    }

    [Fact]
    public async Task A_server_without_the_required_encryption_gets_nothing()
    {
        await using var sink = new SmtpSink();
        await EnqueueAsync("ada@example.org", "text");
        (await Sender(sink.Port, ("CAPSUL_SMTP_TLS", "starttls"), ("CAPSUL_SMTP_USER", "capsul"),
            ("CAPSUL_SMTP_PASSWORD", "s3cret")).SendDueAsync(0, Cancel)).ShouldBe(0);
        sink.Received.ShouldBeEmpty();
        sink.Credentials.ShouldBeEmpty();
        (await RowAsync()).Problem!.ShouldContain("STARTTLS");
    }

    [Fact]
    public async Task Two_concurrent_senders_send_each_email_once()
    {
        await using var sink = new SmtpSink();
        for (var i = 0; i < 20; i++)
            await EnqueueAsync($"a{i}@example.org", "text");
        var counts = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Sender(sink.Port).SendDueAsync(0, Cancel)));
        counts.Sum().ShouldBe(20);
        sink.Received.Select(r => r.Recipient).Distinct().Count().ShouldBe(20);
        sink.Received.Count.ShouldBe(20);
    }

    [Fact]
    public async Task Without_a_server_emails_stay_in_the_outbox()
    {
        await EnqueueAsync("ada@example.org", "text");
        var sender = new MailSender(database.Db, database.Fence, seal, Settings(0).With(("CAPSUL_SMTP_HOST", null)),
            Listener(), time, NullLogger<MailSender>.Instance);
        (await sender.SendDueAsync(0, Cancel)).ShouldBe(0);
        (await RowAsync()).Body.ShouldBe("text");
    }

    [Fact]
    public async Task The_loop_sends_when_woken()
    {
        await using var sink = new SmtpSink();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var listener = Listener();
        var listening = listener.RunAsync(stop.Token);
        var running = new MailSender(database.Db, database.Fence, seal, Settings(sink.Port),
            listener, time, NullLogger<MailSender>.Instance).RunAsync(0, stop.Token);
        await EnqueueAsync("first@example.org", "text");
        await UntilAsync(() => sink.Received.Count == 1);
        await EnqueueAsync("second@example.org", "text");
        await UntilAsync(() => sink.Received.Count == 2);
        await stop.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(running);
        await Should.ThrowAsync<OperationCanceledException>(listening);
    }

    MailSender Sender(int port, params (string Name, string? Value)[] changes) =>
        new(database.Db, database.Fence, seal, Settings(port).With(changes), Listener(), time,
            NullLogger<MailSender>.Instance);

    Listener Listener() => new(database.Db, TimeProvider.System, NullLogger<Listener>.Instance);

    static Task UntilAsync(Func<bool> holds) =>
        Until.TrueAsync("the emails were received", TimeSpan.FromSeconds(30), () => Task.FromResult(holds()));

    static Settings Settings(int port) =>
        Capsul.Foundation.Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = Path.GetTempPath(),
            ["CAPSUL_SMTP_HOST"] = "127.0.0.1",
            ["CAPSUL_SMTP_PORT"] = port.ToString(System.Globalization.CultureInfo.InvariantCulture),
            ["CAPSUL_SMTP_TLS"] = "none",
        });

    Task<int> EnqueueAsync(string recipient, string body) => EnqueueAsync(new Mail(recipient, "Héllo", body));

    Task<int> EnqueueAsync(Mail mail) => database.Db.InTransactionAsync(async transaction =>
    {
        await new Outbox(time).EnqueueAsync(transaction, mail, Cancel);
        return 0;
    }, Cancel);

    async Task<ShownMailRow> RowAsync() =>
        (await database.Db.ListAsync<ShownMailRow>(MailSql.Newest, null, Cancel))[0];

    Task<DateTime> RunAtAsync() =>
        database.Db.FindAsync<DateTime>("SELECT run_at FROM mails ORDER BY id DESC LIMIT 1", null, Cancel);
}
