using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Support;

/// <summary>An account with data for every page.</summary>
public static class Sample
{
    public const string Email = "ada.lovelace@example.org";

    /// <summary>A public key as OpenSSH creates it; its bytes are random but well formed.</summary>
    public static string Ed25519(string comment = "ada@engine")
    {
        byte[] blob = [0, 0, 0, 11, .. "ssh-ed25519"u8, 0, 0, 0, 32, .. RandomNumberGenerator.GetBytes(32)];
        return $"ssh-ed25519 {Convert.ToBase64String(blob)} {comment}";
    }

    public static async Task FillAsync(WebHub hub, CancellationToken cancel)
    {
        await hub.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@email)", new { email = Email }, cancel);
        await AddKeyAsync(hub, Email, "ada@engine", cancel);
        await AddKeyAsync(hub, Email, "work laptop with a rather long name", cancel);
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO payments (created, email, dollars, method, invalidated)
            VALUES (@now, @email, 25, 'cash', FALSE), (@now, @email, 10, 'cash', TRUE),
                (@now, @email, 20, 'play', FALSE);
            INSERT INTO provider_payments (provider, email, amount, key, created, return_to, reference, charge, url,
                status, received, refunded, credited, fee, next_poll, problem) VALUES
                ('stripe', @email, 20, 'k1', @now, '', 'cs_1', 'pi_1', '', 'paid', 20, 5, 15, 0.88, @now, ''),
                ('stripe', @email, 30, 'k2', @now, '', 'cs_2', NULL, 'https://pay.example.org/', 'open', 0, 0, 0, 0,
                    @now, ''),
                ('stripe', @email, 10, 'k3', @now, '', 'cs_3', 'pi_3', '', 'paid', 10, 0, 0, 0, @now,
                    'It was paid in EUR, and nothing was credited: all amounts here are in USD.');
            INSERT INTO saved_cards (provider, email, key, created, return_to, status, customer, reference, method,
                brand, last_four, expires)
            VALUES ('stripe', @email, 'card1', @now, '', 'saved', 'cus_1', 'cs_4', 'pm_1', 'visa', '4242',
                '2030-01-01');
            INSERT INTO auto_top_ups (email, threshold, amount, cap, enabled, decline, declines, paused_until, changed)
            VALUES (@email, 5, 20, 60, TRUE, 'expired_card', 1, '2099-01-01', @now);
            INSERT INTO provider_refunds (payment, amount, key, reason, actor, created)
            VALUES (1, 5, 'r1', 'a gift', 'ops@example.org', @now);
            INSERT INTO provider_refunds (payment, amount, key, reason, actor, created, status, reference, url, sent,
                claimed)
            VALUES (1, 4, 'r2', 'asked by mail', 'ops@example.org', @now, 'offered', 'pull_1',
                'https://pay.example.org/pull-payments/pull_1', 1, 1.5);
            INSERT INTO bank_lines (entry, booked, amount, payer, message, imported, actor, state, email) VALUES
                ('e1', @now, 20, 'Ada Lovelace', 'hosting, code 2345-ABCD', @now, 'ops@example.org', 'waiting', @email),
                ('e2', @now, 7.5, '', '', @now, 'ops@example.org', 'kept', NULL);
            INSERT INTO provider_events (provider, event, type, received, body, payment)
            VALUES ('stripe', 'evt_1', 'checkout.session.completed', @now, '{}', 1);
            INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
            VALUES ('debian-12', 'Debian 12 (bookworm)', 'debian', 4, 256),
                ('alpine-3', 'Alpine 3.22', 'alpine', 1, 128), ('tiny', 'Tiny', 'user', 0, 64);
            INSERT INTO hosts (id, state, online, cpus, memory_mb, disk_free_mb)
            VALUES ('host-1', 'joined', TRUE, 8, 32768, 500000);
            INSERT INTO host_images (host, image, sha256) SELECT 'host-1', id, repeat('a', 64) FROM images;
            INSERT INTO addresses (host, address, mac)
            SELECT 'host-1', '10.77.0.0'::inet + n, ('52:54:00:00:00:' || lpad(to_hex(n), 2, '0'))::macaddr
            FROM generate_series(2, 40) AS n;
            INSERT INTO pools (host, family, network, gateway, first, last) VALUES
                ('host-1', 4, '10.77.0.0/24', '10.77.0.1', '10.77.0.2', '10.77.0.40'),
                ('host-1', 6, 'fd12:3456:789a:1::/64', 'fd12:3456:789a:1::1', NULL, NULL);
            UPDATE addresses SET address6 = 'fd12:3456:789a:1:5054:ff:fe00::'::inet + (address - '10.77.0.0'::inet);
            UPDATE addresses SET reserved = 'the printer' WHERE address = '10.77.0.40';
            """, new { now = hub.Now, email = Email }, cancel);
    }

    /// <summary>A VM in each state worth showing, with its related rows.</summary>
    public static async Task FillVmsAsync(WebHub hub, CancellationToken cancel)
    {
        await AddVmAsync(hub, "capsul-running000", "engine", "running", "on", 6, "", cancel);
        await AddVmAsync(hub, "capsul-stopped000", "attic", "stopped", "off", 6, "", cancel);
        await AddVmAsync(hub, "capsul-creating00", "newcomer", "creating", "on", 4, "", cancel);
        await AddVmAsync(hub, "capsul-failed0000", "unlucky", "failed", "gone", 4,
            "SSH did not respond in time. You were not charged; the last console output is below.", cancel);
        await AddVmAsync(hub, "capsul-silent0000", "faraway", "running", "unknown", 6, "", cancel);
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO usage_spans (vm, email, span, dollars_per_month)
            SELECT id, email, tstzrange(@now - interval '9 days', NULL), dollars_per_month FROM vms
            WHERE state IN ('running', 'stopped');
            UPDATE hosts SET forward_first = 31000, forward_last = 31999, forwards_udp = TRUE;
            INSERT INTO ports (vm, vm_port, protocol, via, host, port, opened, bytes_in, bytes_out) VALUES
                ('capsul-running000', 80, 'tcp', 'host', 'host-1', 31234, @now, 0, 0),
                ('capsul-running000', 51820, 'udp', 'host', 'host-1', 31820, @now, 0, 0),
                ('capsul-running000', 22, 'tcp', 'hub', NULL, 20022, @now, 123456, 7890123);
            INSERT INTO vm_usage VALUES
                ('capsul-running000', @now, 1, 2, 3, 4, 12, NULL, date_trunc('hour', @now), 4, NULL);
            INSERT INTO vm_traffic SELECT 'capsul-running000', month, 123456789012, 12345678901, NULL
            FROM generate_series(date_trunc('month', @now AT TIME ZONE 'UTC') - interval '3 months', @now, '1 month')
                AS month;
            INSERT INTO firewalls VALUES ('capsul-running000', 'closed');
            INSERT INTO firewall_rules VALUES ('capsul-running000', 'tcp', 22, 22, NULL),
                ('capsul-running000', 'udp', 60000, 61000, '2001:db8:1234::/48');
            INSERT INTO vm_ssh_host_keys (vm, type, key, fingerprint)
            VALUES ('capsul-running000', 'ssh-ed25519', 'AAAAC3NzaC1lZDI1NTE5AAAAIJ0',
                'SHA256:b0Pp6QyVn8J5Qq2r0u8Yw1r7o3m2c5d9e4f6a1b2c3d'),
                   ('capsul-running000', 'ecdsa-sha2-nistp256', 'AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAI',
                       'SHA256:Zk3q1x7V9p2m4n6b8v0c2x4z6l8k0j2h4g6f8d0s2a4');
            INSERT INTO operations (kind, vm, email, step, status, run_at, created, deadline_at, finished, problem)
            VALUES ('create_vm', 'capsul-creating00', @email, 'boot', 'running', @now, @now - interval '40 seconds',
                @now + interval '4 minutes', NULL, ''),
                   ('create_vm', 'capsul-failed0000', @email, 'boot', 'failed', @now, @now - interval '9 minutes', @now,
                       @now, 'SSH did not respond in time.');
            INSERT INTO operation_events (operation, at, step, message)
            SELECT o.id, @now - interval '40 seconds' + make_interval(secs => 6 * e.n), 'phase', e.message
            FROM operations o, (VALUES (0, 'Scheduled on host host-1'), (1, 'Disk created'), (2, 'VM configured'),
                (3, 'Started'), (4, 'Booting')) AS e (n, message);
            """, new { now = hub.Now, email = Email }, cancel);
    }

    /// <summary>A VM that runs from a rescue system, and keys of another that wait for its next start.</summary>
    public static async Task FillRescueAsync(WebHub hub, CancellationToken cancel)
    {
        await AddVmAsync(hub, "capsul-rescued000", "locked-out", "running", "on", 6, "", cancel);
        await hub.Db.ExecuteAsync(
            """
            UPDATE hosts SET rescues = TRUE, renews_seeds = TRUE;
            INSERT INTO key_changes (vm, number, asked, keys, key_names)
            VALUES ('capsul-running000', 1772366400, @now, 'ssh-ed25519 AAAA', 'ada@engine');
            UPDATE vms SET observed_rescue = 1772366400 WHERE id = 'capsul-rescued000';
            INSERT INTO rescues (vm, number, actor, began, was, image, image_sha256, login_user, keys, host_keys)
            VALUES ('capsul-rescued000', 1772366400, @email, @now, 'running', 'tiny', repeat('a', 64), 'capsul',
                'ssh-ed25519 AAAA', E'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 '
                    'SHA256:c0Pp6QyVn8J5Qq2r0u8Yw1r7o3m2c5d9e4f6a1b2c3d\n');
            """, new { now = hub.Now, email = Email }, cancel);
    }

    /// <summary>Settings of a Hub whose people name addresses; the server need not be there.</summary>
    public static readonly (string Name, string? Value)[] Dns =
        [("CAPSUL_DNS_SERVER", "127.0.0.1"), ("CAPSUL_DNS_KEY", "hmac-sha256:capsul:AAAA")];

    /// <summary>
    /// A VM with public addresses: one has a name, and the DNS server refuses that of the other; and a further one.
    /// </summary>
    public static Task FillNamesAsync(WebHub hub, CancellationToken cancel) => hub.Db.ExecuteAsync(
        """
        UPDATE addresses SET address = '203.0.113.10', address6 = '2001:db8::10' WHERE vm = 'capsul-silent0000';
        INSERT INTO reverse_names (address, vm, name, published, failing_since, problem)
        VALUES ('203.0.113.10', 'capsul-silent0000', 'mail.example.org', 'mail.example.org', NULL, ''),
            ('2001:db8::10', 'capsul-silent0000', 'six.example.org', NULL, @now, 'update failed: REFUSED');
        INSERT INTO prices (size, active_from, dollars_per_month, announced) VALUES ('ipv4-address', @now, 2, @now);
        INSERT INTO vm_extras (vm, kind, dollars_per_month, price_from, added)
        VALUES ('capsul-silent0000', 'ipv4-address', 2, @now, @now);
        UPDATE addresses SET address = '203.0.113.11', address6 = NULL, vm = 'capsul-silent0000', extra = x.id
        FROM vm_extras x WHERE address = '10.77.0.30'
        """, new { now = hub.Now }, cancel);

    /// <summary>A VM that waits for a build slot.</summary>
    public static async Task FillQueueAsync(WebHub hub, CancellationToken cancel)
    {
        await AddVmAsync(hub, "capsul-queued0000", "patient", "creating", "unknown", 0, "", cancel);
        await hub.Db.ExecuteAsync(
            """
            UPDATE vms SET queued = @now, created = @now, console_tail = '', ssh_host = '', ssh_port = 0
            WHERE id = 'capsul-queued0000';
            WITH waiting AS (
                INSERT INTO operations (kind, vm, email, step, status, run_at, created, deadline_at)
                VALUES ('create_vm', 'capsul-queued0000', @email, 'queue', 'running', @now,
                    @now - interval '3 minutes', @now + interval '6 hours') RETURNING id)
            INSERT INTO operation_events (operation, at, step, message)
            SELECT id, @now - interval '3 minutes', 'queue', 'Scheduled on host host-1' FROM waiting
            """, new { now = hub.Now, email = Email }, cancel);
    }

    /// <summary>What operators see: alerts, and a machine that the database does not know.</summary>
    public static Task FillAlertsAsync(WebHub hub, CancellationToken cancel) => hub.Db.ExecuteAsync("""
        INSERT INTO alerts (kind, subject, message, raised, cleared)
        VALUES ('host_silent', 'host-1', 'host-1 has not been heard from since 1 Mar 2026, 11:10 UTC.',
            @now - interval '50 minutes', NULL),
            ('backup_failed', '', 'The disk of the backup folder is full.', @now - interval '3 days',
                @now - interval '2 days');
        INSERT INTO unknown_vms (host, vm, power, first_seen, last_seen)
        VALUES ('host-1', 'capsul-zzzzzzzzzz', 'on', @now - interval '1 day', @now);
        INSERT INTO foreign_machines VALUES
            ('host-1', '00000000-0000-4000-8000-000000000001', 'legacy', 'on', 1, 512, 5, 'qcow2', '', ''),
            ('host-1', '00000000-0000-4000-8000-000000000002', 'odd', 'off', 2, 2048, 0, 'raw', '',
                'It has 2 disks; a capsul has exactly one.');
        """, new { now = hub.Now }, cancel);

    /// <summary>Posts the usage of the last hours, and verifies the ledger.</summary>
    public static async Task FillLedgerAsync(WebHub hub, CancellationToken cancel)
    {
        var epoch = await hub.Db.FindAsync<long>("UPDATE seat SET epoch = epoch + 1 RETURNING epoch", null, cancel);
        var fence = new Fence(hub.Db, new Listener(hub.Db, hub.Time, NullLogger<Listener>.Instance));
        for (var hours = 30; hours >= 0; hours--)
            await new Metering(hub.Db, fence, hub.Time).PostAsync(epoch, hub.Now - TimeSpan.FromHours(hours), cancel);
        await new LedgerCheck(hub.Db, fence, hub.Services.GetRequiredService<Settings>(), hub.Time)
            .LookAsync(epoch, cancel);
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO provider_totals (provider, tried, problem, at, since, paid_there, paid_here, sent_there,
                unbooked)
            VALUES ('stripe', @now, '', @now, @now - interval '30 days', 120, 120, 80, 1),
                ('btcpay', @now, 'BTCPay Server did not answer.', NULL, NULL, 0, 0, 0, 0)
            """, new { now = hub.Now }, cancel);
    }

    /// <summary>Who sells, a price to come, what counts of a payment by card, and a receipt that a credit note has
    /// canceled.</summary>
    public static async Task FillReceiptsAsync(WebHub hub, CancellationToken cancel)
    {
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO prices (size, active_from, dollars_per_month, announced, withdrawn) VALUES
                ('f1-s', @now + interval '30 days', 9, @now, NULL),
                ('f1-s', @now + interval '40 days', 12, @now, @now);
            UPDATE vms SET price_from = '1970-01-01 00:00:00+00';
            INSERT INTO sellers (active_from, name, address, tax_number, tax_label, tax_percent) VALUES
                ('1970-01-01 00:00:00+00', 'Meadow Co-op', E'1 Lane\n12345 Town', 'DE 123456789', 'VAT', 19),
                ('2027-01-01 00:00:00+00', 'Meadow Co-op', E'2 Lane\n12345 Town', 'DE 123456789', 'VAT', 21);
            INSERT INTO payments (created, email, dollars, method, provider_payment)
            VALUES (@now, @email, 15, 'stripe', 1);
            INSERT INTO billing_addresses (email, name, address, tax_number)
            VALUES (@email, 'Ada Lovelace', E'Analytical Engines\nSt James''s Square\nLondon', 'GB 123 4567 89');
            """, new { now = hub.Now, email = Email }, cancel);
        (await IssueReceipt.RunAsync(hub.Db, Email, 1, hub.Time, cancel)).OrThrow();
        await hub.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE WHERE id = 1", null, cancel);
        (await IssueReceipt.RunAsync(hub.Db, Email, 1, hub.Time, cancel)).OrThrow();
        await hub.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE WHERE id = 1", null, cancel);
    }

    public static Task AddVmAsync(
        WebHub hub, string id, string name, string state, string observed,
        int phase, string problem, CancellationToken cancel, string email = Email) =>
        hub.Db.ExecuteAsync(
            """
            INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, deleted,
                dollars_per_month, vcpus, memory_mb, disk_gb,
                state, wanted, wanted_generation, observed, observed_generation, observed_at, phase, ssh_host, ssh_port,
                console_tail, problem)
            VALUES (@id, @email, @name, 'f1-s', 'debian-12', repeat('a', 64), 'debian', 'host-1',
                @now - interval '9 days',
                CASE WHEN @state = 'failed' THEN @now END, 7.50, 1, 1024, 25, @state,
                CASE @state WHEN 'failed' THEN 'gone' WHEN 'stopped' THEN 'off' ELSE 'on' END, 1, @observed, 1,
                @now - interval '5 minutes', @phase, '127.0.0.1', 22001,
                E'[    1.204] EXT4-fs (vda1): mounted filesystem\n[    9.881] cloud-init: waiting for network\n',
                @problem);
            UPDATE addresses SET vm = @id
            WHERE (host, address) = (SELECT host, address FROM addresses WHERE vm IS NULL ORDER BY address LIMIT 1)
                AND @state <> 'failed'
            """, new { id, email, name, state, observed, phase, problem, now = hub.Now }, cancel);

    /// <summary>
    /// Accounts that come and go: one that waits, one that is being closed, one that is closed and has money left;
    /// vouchers, and a link for friends whose secret is "known".
    /// </summary>
    public static Task FillAccountsAsync(WebHub hub, CancellationToken cancel) => hub.Db.ExecuteAsync(
        """
        INSERT INTO accounts (email, created, waits) VALUES ('new@example.org', @now, @now),
            ('leaving@example.org', @now, NULL), ('closed-1', @now, NULL);
        INSERT INTO account_closings (email, actor, reason, asked, due, money, pay_to, settled, forget, contact) VALUES
            ('closed-1', 'the owner', '', @now, @now, 'back', 'DE02 1203 0000 0000 2020 51', @now, @now,
                'gone@example.org'),
            ('leaving@example.org', 'ops@example.org', 'asked by mail', @now, @now + interval '3 days', 'fund', '',
                NULL, NULL, '');
        INSERT INTO payments (created, email, dollars, method) VALUES (@now, 'closed-1', 30, 'bank'),
            (@now, @email, 10, 'voucher');
        INSERT INTO account_payouts (closing, payment, amount, state, created)
        SELECT 1, id, 12.34, 'open', @now FROM payments WHERE email = 'closed-1';
        INSERT INTO vouchers (code_hash, hint, amount, created, actor, note, for_email, redeemed, payment)
        SELECT sha256('a'), 'ABCD', 10, @now, 'ops@example.org', 'summer party', '', @now, id FROM payments
        WHERE method = 'voucher';
        INSERT INTO vouchers (code_hash, hint, amount, created, actor, note, expires, for_email)
        VALUES (sha256('b'), 'EFGH', 25, @now, 'ops@example.org', 'a gift', @now + interval '1 year', @email);
        INSERT INTO account_limits (after_days, paid, max_vms) VALUES (0, 0, 10), (30, 50, 20);
        INSERT INTO friend_links (email, code_hash, name, created)
        VALUES (@email, sha256('known'), 'Ada''s engine', @now);
        INSERT INTO payments (created, email, dollars, method) VALUES (@now, @email, -15, 'solidarity');
        INSERT INTO sponsorships (email, amount, starts, until, actor, reason) VALUES
            (@email, 7.5, @now, @now + interval '1 year', 'ops@example.org', 'training'),
            ('new@example.org', 25, @now, NULL, 'ops@example.org', 'lost the job');
        UPDATE sponsorships SET short_since = @now WHERE email = 'new@example.org';
        INSERT INTO price_levels (name, percent, created, retired) VALUES ('supported', 70, @now, NULL),
            ('solidary', 130, @now, NULL), ('friends', 50, @now, @now);
        WITH month AS (INSERT INTO payments (created, email, dollars, method)
            VALUES (@now, @email, 7.5, 'solidarity') RETURNING id)
        INSERT INTO fund_movements (payment, sponsorship, month) SELECT id, 1, 0 FROM month;
        WITH trial AS (INSERT INTO payments (created, email, dollars, method)
            VALUES (@now, @email, 20, 'trial') RETURNING id)
        INSERT INTO trials (email_hash, given, lapses, payment)
        SELECT sha256('ada'), @now, @now + interval '30 days', id FROM trial;
        """, new { now = hub.Now, email = Email }, cancel);

    public static async Task<long> AddKeyAsync(WebHub hub, string email, string name, CancellationToken cancel)
    {
        var key = SshKey.Parse(Ed25519(name)).OrThrow();
        return await hub.Db.FindAsync<long>(
            """
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES (@email, @name, @type, @key, @fingerprint, @now) RETURNING id
            """, new { email, name, type = key.Type, key = key.Key, fingerprint = key.Fingerprint, now = hub.Now },
            cancel);
    }
}
