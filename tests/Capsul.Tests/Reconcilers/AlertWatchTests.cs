using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;

namespace Capsul.Tests.Reconcilers;

/// <summary>Each condition is raised once, emailed once, and cleared by itself.</summary>
public sealed class AlertWatchTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("host_silent", "UPDATE hosts SET online = FALSE, last_seen = @now - interval '2 minutes'",
        "UPDATE hosts SET online = TRUE, last_seen = @now", "has not been heard from since 1 Mar 2026, 11:58 UTC")]
    [InlineData("hypervisor_silent",
        "UPDATE hosts SET online = FALSE, problem = 'It hangs.', last_seen = @now - interval '2 minutes'",
        "UPDATE hosts SET online = TRUE, problem = '', last_seen = @now", "It hangs.")]
    [InlineData("disk_filling", "UPDATE hosts SET disk_free_mb = 8000", "UPDATE hosts SET disk_free_mb = 20000",
        "less than 8 GiB")]
    [InlineData("disk_filling", "UPDATE hosts SET disk_mb = 1000000, disk_free_mb = 90000",
        "UPDATE hosts SET disk_free_mb = 130000", "less than 88 GiB")]
    [InlineData("clock_skew", "UPDATE hosts SET clock_skew_seconds = -61", "UPDATE hosts SET clock_skew_seconds = 60",
        "behind")]
    [InlineData("vms_cut_off",
        "UPDATE hosts SET cut_off = 'No bridge.', cut_off_since = @now - interval '61 seconds'",
        "UPDATE hosts SET cut_off = '', cut_off_since = NULL", "No bridge. The host tries again")]
    [InlineData("certificate_ending", "UPDATE hosts SET certificate_ends = @now + interval '13 days'",
        "UPDATE hosts SET certificate_ends = @now + interval '90 days'", "14 Mar 2026")]
    [InlineData("unknown_vm", "INSERT INTO unknown_vms VALUES ('rack1', 'capsul-x', 'on', @now, @now)",
        "DELETE FROM unknown_vms", "rack1 has 1 machine")]
    [InlineData("vms_paused", "UPDATE vms SET paused = TRUE, observed = 'on'", "UPDATE vms SET paused = FALSE",
        "1 capsul is paused, such as capsul-")]
    [InlineData("hub_without_address",
        "INSERT INTO hubs VALUES ('a', 'a.example.org:8443', @now), ('b', '', @now)",
        "UPDATE hubs SET link_address = 'b.example.org:8443' WHERE name = 'b'", "There are 2 Hubs")]
    [InlineData("mails_stuck", """
        INSERT INTO mails (recipient, subject, body, created, run_at)
        VALUES ('ada@example.org', 's', 'b', @now - interval '31 minutes', @now + interval '1 hour')
        """, "UPDATE mails SET sent = @now WHERE sent IS NULL", "since 1 Mar 2026, 11:29 UTC")]
    [InlineData("mails_given_up", """
        INSERT INTO mails (recipient, subject, body, created, run_at, given_up)
        VALUES ('ada@example.org', 's', 'b', @now, @now, @now)
        """, "UPDATE mails SET given_up = @now - interval '25 hours' WHERE given_up IS NOT NULL", "given up")]
    [InlineData("backup_overdue", """
        INSERT INTO backups (reason, started, finished, file, format, schema_version)
        VALUES ('asked', @now - interval '2 days', @now - interval '2 days', 'f', 'plain', 1)
        """, "UPDATE backups SET started = @now", "due at 28 Feb 2026, 03:30 UTC")]
    [InlineData("clock_jumped", "UPDATE dunning_clock SET trusted = @now - interval '3 hours'",
        "UPDATE dunning_clock SET trusted = @now", "goes by 1 Mar 2026, 09:00 UTC")]
    [InlineData("names_unpublished", """
        INSERT INTO reverse_names (address, name, failing_since, problem)
        VALUES ('203.0.113.2', '', @now - interval '16 minutes', 'update failed: REFUSED')
        """, "DELETE FROM reverse_names", "1 name of addresses, the first since 1 Mar 2026, 11:44 UTC: 203.0.113.2: ")]
    [InlineData("payments_stuck", """
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, next_poll, failing_since,
            problem)
        VALUES ('stripe', 'ada@example.org', 5, 'k', @now, '', @now, @now - interval '31 minutes', 'No answer.')
        """, "UPDATE provider_payments SET problem = '', failing_since = NULL", "no answer about payments since 1 Mar")]
    [InlineData("payment_problem", """
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, problem)
        VALUES ('stripe', 'ada@example.org', 5, 'k', @now, '', 'It was paid in EUR.')
        """, "UPDATE provider_payments SET problem = ''", "needs a person: It was paid in EUR.")]
    [InlineData("payment_unknown", """
        INSERT INTO provider_events (provider, event, type, received, body, handled, unknown_key)
        VALUES ('stripe', 'e', 't', @now, '', @now, 'k')
        """, "UPDATE provider_events SET unknown_key = NULL", "tells of 1 payment that Capsul began")]
    [InlineData("payment_problem", """
        WITH p AS (INSERT INTO provider_payments (provider, email, amount, key, created, return_to)
            VALUES ('btcpay', 'ada@example.org', 5, 'k', @now, '') RETURNING id)
        INSERT INTO provider_refunds (payment, amount, key, reason, actor, created, status, problem)
        SELECT id, 5, 'r', '', '', @now, 'done', 'The refund was archived.' FROM p
        """, "UPDATE provider_refunds SET created = @now - interval '91 days'",
        "needs a person: The refund was archived.")]
    [InlineData("refund_refused", """
        WITH p AS (INSERT INTO provider_payments (provider, email, amount, key, created, return_to)
            VALUES ('stripe', 'ada@example.org', 5, 'k', @now, '') RETURNING id)
        INSERT INTO provider_refunds (payment, amount, key, reason, actor, created, status, problem)
        SELECT id, 5, 'r', '', '', @now, 'refused', 'The card is gone.' FROM p
        """, "UPDATE provider_refunds SET created = @now - interval '61 days'", "was not made: The card is gone.")]
    [InlineData("closed_balance", """
        INSERT INTO accounts (email, created) VALUES ('closed-9', @now);
        INSERT INTO account_closings (email, actor, reason, asked, due, money, pay_to, settled, finished, forget)
        VALUES ('closed-9', 'ops', '', @now, @now, 'back', '', @now, @now, @now);
        INSERT INTO payments (created, email, dollars, method) VALUES (@now, 'closed-9', 5, 'cash')
        """, "UPDATE payments SET invalidated = TRUE WHERE email = 'closed-9'",
        "balance of the closed account closed-9 is $5.00, and nothing of it is to be paid")]
    [InlineData("vm_busy", """
        INSERT INTO vm_usage SELECT id, @now, 1, 0, 0, 0, 99, @now - interval '25 hours', @now, 0, NULL FROM vms
        """, "UPDATE vm_usage SET busy_since = NULL", "used more than 95% of its CPUs continuously since 28 Feb")]
    [InlineData("vm_busy", """
        INSERT INTO vm_usage SELECT id, @now, 1, 0, 0, 0, 99, @now - interval '25 hours', @now, 0, NULL FROM vms
        """, "UPDATE vm_usage SET at = @now - interval '31 minutes'", "of ada@example.org has used")]
    [InlineData("vm_connections", """
        INSERT INTO vm_usage SELECT id, @now, 1, 0, 0, 0, 1, NULL, @now, 0, @now FROM vms
        """, "UPDATE vm_usage SET crowded = @now - interval '25 hours'", "open 30,000 connections or more within")]
    [InlineData("provider_differs", """
        INSERT INTO provider_totals (provider, tried, at, since, paid_there, differences, differs_since)
        VALUES ('stripe', @now, @now, @now - interval '30 days', 5, 1, @now - interval '1 hour')
        """, "UPDATE provider_totals SET differs_since = NULL, paid_there = 0, differences = 0",
        "differed since 1 Mar 2026, 11:00 UTC, in 1 payment or refund")]
    [InlineData("webhooks_refused",
        "INSERT INTO provider_refusals VALUES ('stripe', @now, @now, 10, 'Its signature is wrong.')",
        "UPDATE provider_refusals SET last = @now - interval '61 minutes'", "claim to be of stripe")]
    public async Task A_condition_is_raised_once_emailed_once_and_cleared_by_itself(
        string kind, string begin, string end, string says)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        var watch = Watch(rows);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).ShouldBeEmpty();
        await rows.Db.ExecuteAsync(begin, new { now = rows.Now }, Cancel);
        for (var n = 0; n < 3; n++) await watch.LookAsync(rows.Epoch, Cancel);
        var alert = (await OpenAsync(rows)).ShouldHaveSingleItem();
        alert.Kind.ShouldBe(kind);
        alert.Message.ShouldContain(says);
        (await MailsAsync(rows)).ShouldBe(1);
        await rows.Db.ExecuteAsync(end, new { now = rows.Now }, Cancel);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).ShouldBeEmpty();
        (await rows.CountAsync("alerts", "cleared IS NOT NULL", Cancel)).ShouldBe(1);
        (await MailsAsync(rows)).ShouldBe(1);
    }

    [Fact]
    public async Task An_operation_past_its_deadline_is_an_alert_until_it_ends()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.NewVmAsync(Cancel);
        var watch = Watch(rows);
        await rows.Db.ExecuteAsync("UPDATE operations SET deadline_at = @now - interval '11 minutes'",
            new { now = rows.Now }, Cancel);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).ShouldHaveSingleItem().Message.ShouldContain("(create_vm of capsul-");
        await rows.Db.ExecuteAsync("UPDATE operations SET status = 'failed', finished = @now", new { now = rows.Now },
            Cancel);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_disk_that_filled_needs_a_fifth_more_space_before_it_is_cleared()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var watch = Watch(rows);
        foreach (var (free, count) in ((int, int)[])[(8300, 0), (8100, 1), (9500, 1), (10_000, 0), (9500, 0)])
        {
            await rows.Db.ExecuteAsync("UPDATE hosts SET disk_free_mb = @free", new { free }, Cancel);
            await watch.LookAsync(rows.Epoch, Cancel);
            (await OpenAsync(rows)).Count.ShouldBe(count, $"{free} MiB");
        }
    }

    [Fact]
    public async Task Usage_that_is_not_posted_for_hours_is_an_alert_but_not_right_after_a_start()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var watch = Watch(rows);
        await rows.Db.ExecuteAsync("UPDATE metering SET until = @until", new { until = rows.Now.AddDays(-7) }, Cancel);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).ShouldBeEmpty();
        rows.Time.Advance(TimeSpan.FromHours(4));
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).Single(a => a.Kind == "metering_behind").Message
            .ShouldStartWith("Usage is posted to the ledger only until 22 Feb 2026, 12:00 UTC.");
        await rows.Db.ExecuteAsync("UPDATE metering SET until = @until", new { until = rows.Now.AddHours(-1) }, Cancel);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).ShouldNotContain(a => a.Kind == "metering_behind");
        await rows.Db.ExecuteAsync("UPDATE metering SET until = @until", new { until = rows.Now.AddDays(9) }, Cancel);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).ShouldContain(a => a.Kind == "metering_ahead");
    }

    [Fact]
    public async Task Many_new_alerts_are_one_email_to_each_operator()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            INSERT INTO hosts (id, state, last_seen) SELECT 'host-' || n, 'joined', @now - interval '1 hour'
            FROM generate_series(1, 50) AS n
            """, new { now = rows.Now }, Cancel);
        await Watch(rows).LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).Count.ShouldBe(50);
        (await rows.Db.ListAsync<string>("SELECT recipient || ' ' || subject FROM mails ORDER BY 1", null, Cancel))
            .ShouldBe(["boss@example.org Capsul: 50 alerts", "ops@example.org Capsul: 50 alerts"]);
        (await rows.Db.AskAsync<string>("SELECT body FROM mails LIMIT 1", null, Cancel)).ShouldContain("30 more");
    }

    [Fact]
    public async Task The_end_of_the_link_authority_is_an_alert_and_repairs_are_cleared_after_a_day()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("INSERT INTO alerts (kind, message, raised) VALUES ('usage_not_closed', 'x', @now)",
            new { now = rows.Now }, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(23));
        var watch = Watch(rows, rows.Now.AddDays(300));
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).Select(a => a.Kind).ShouldBe(["usage_not_closed", "authority_ending"]);
        rows.Time.Advance(TimeSpan.FromHours(2));
        await watch.LookAsync(rows.Epoch, Cancel);
        (await OpenAsync(rows)).Select(a => a.Kind).ShouldContain("authority_ending");
        (await OpenAsync(rows)).Select(a => a.Kind).ShouldNotContain("usage_not_closed");
    }

    static AlertWatch Watch(VmRows rows, DateTime? authorityEnds = null) => new(rows.Db, rows.Fence,
        rows.Settings.With(("CAPSUL_OPERATOR_EMAIL", "ops@example.org,boss@example.org"),
            ("CAPSUL_SMTP_HOST", "mail.example.org")),
        new LinkAuthority(authorityEnds ?? rows.Now.AddYears(20)), rows.Time);

    static Task<IReadOnlyList<AlertRow>> OpenAsync(VmRows rows) =>
        rows.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel);

    static Task<int> MailsAsync(VmRows rows) => rows.CountAsync("mails", "recipient = 'ops@example.org'", Cancel);
}
