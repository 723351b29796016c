namespace Capsul.Tests.House;

/// <summary>The data sets.</summary>
public sealed partial class StatementCostTests
{
    /// <summary>
    /// Without triggers and foreign keys, and without the constraint on spans, which take most of the time; the
    /// counters are computed afterward.
    /// </summary>
    const string FillSql = """
        SET session_replication_role = replica;
        SET synchronous_commit = off;
        ALTER TABLE usage_spans DROP CONSTRAINT usage_spans_no_overlap;
        INSERT INTO accounts (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, 1000) AS n
            UNION ALL SELECT unnest(ARRAY['old@example.org', 'new@example.org']);
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('tiny', 'Tiny', 'u', 1, 64);
        INSERT INTO hosts (id, state, online, cpus, memory_mb, disk_free_mb, last_seen, certificate)
        SELECT 'h' || n, 'joined', TRUE, 64, 65536 + n, 1000000, @now, sha256(n::text::bytea)
        FROM generate_series(1, 200) AS n;
        INSERT INTO host_images (host, image, sha256) SELECT id, 'tiny', repeat('a', 64) FROM hosts;
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, deleted,
            dollars_per_month, vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, observed,
            observed_generation)
        SELECT id, email, name, 'f1-s', 'tiny', repeat('a', 64), 'u', host, created, deleted, 7.50, 1, 1024, 25,
            CASE WHEN deleted IS NULL THEN 'running' ELSE 'deleted' END,
            CASE WHEN deleted IS NULL THEN 'on' ELSE 'gone' END, generation,
            CASE WHEN deleted IS NULL THEN 'on' ELSE 'gone' END, generation
        FROM (
            SELECT 'capsul-' || lpad(n::text, 10, 'u') AS id, 'user' || (n % 1000 + 1) || '@example.org' AS email,
                'n' || n AS name, 'h' || (n % 200 + 1) AS host, @now - interval '1 hour' * n AS created,
                NULL::timestamptz AS deleted, n AS generation
            FROM generate_series(1, 10000) AS n
            UNION ALL
            SELECT 'capsul-old' || lpad(n::text, 7, '0'), 'old@example.org', 'old' || n,
                CASE WHEN n > 20 THEN 'h1' ELSE 'h' || (n + 10) END, @now - interval '17 hours' * n,
                CASE WHEN n > 20 THEN @now - interval '17 hours' * n + interval '1 hour' END, n
            FROM generate_series(1, 5000) AS n
            UNION ALL
            SELECT 'capsul-new' || lpad(n::text, 7, '0'), 'new@example.org', 'new' || n, 'h' || (n + 30),
                @now - interval '1 hour' * n, NULL, n
            FROM generate_series(1, 20) AS n) AS v;
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT v.id, v.email, tstzrange(@now - interval '1 day' * (n + 1), @now - interval '1 day' * n), 7.50
        FROM vms v, generate_series(1, 17) AS n WHERE v.email LIKE 'user%'
        UNION ALL
        SELECT 'capsul-old0000001', 'old@example.org', tstzrange(@now - interval '6 hours' * (n + 1),
            @now - interval '6 hours' * n), 7.50 FROM generate_series(1, 14600) AS n
        UNION ALL
        SELECT v.id, v.email, tstzrange(v.created, v.deleted), 7.50 FROM vms v WHERE v.deleted IS NOT NULL
        UNION ALL
        SELECT v.id, v.email, tstzrange(@now - interval '1 hour', NULL), 7.50 FROM vms v WHERE v.deleted IS NULL;
        INSERT INTO operations (kind, vm, email, step, status, run_at, created, deadline_at, finished)
        SELECT 'start_vm', v.id, v.email, 'power', 'done', @now, @now, @now, @now
        FROM vms v, generate_series(1, 4) AS n
        UNION ALL
        SELECT 'start_vm', 'capsul-old0000001', 'old@example.org', 'power', 'done', @now, @now, @now, @now
        FROM generate_series(1, 5000) AS n;
        INSERT INTO operation_events (operation, at, step, message) SELECT id, @now, 'phase', 'Started' FROM operations;
        INSERT INTO payments (email, created, dollars, method)
        SELECT a.email, @now, 5, 'cash' FROM accounts a, generate_series(1, 20) AS n
        UNION ALL SELECT 'old@example.org', @now, 5, 'cash' FROM generate_series(1, 3000) AS n;
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, reference, charge, status,
            received, credited, next_poll)
        SELECT 'stripe', p.email, 5, 'key' || p.id, @now, '', 'cs_' || p.id, 'pi_' || p.id, 'paid', 5, 5,
            CASE WHEN p.id % 10 = 0 THEN @now + interval '1 day' END FROM payments p;
        INSERT INTO saved_cards (provider, email, key, created, return_to, status, customer, reference, method,
            last_four)
        SELECT 'stripe', a.email, 'card' || n || a.email, @now, '', CASE n WHEN 1 THEN 'saved' ELSE 'removed' END,
            CASE n WHEN 1 THEN 'cus' END, NULL, CASE n WHEN 1 THEN 'pm_' || a.email END,
            CASE n WHEN 1 THEN '4242' ELSE '' END FROM accounts a, generate_series(1, 4) AS n;
        INSERT INTO auto_top_ups (email, threshold, amount, cap, enabled, off_because, changed)
        SELECT email, 5, 20, 60, row_number() OVER () % 10 = 0,
            CASE WHEN row_number() OVER () % 10 = 0 THEN '' ELSE 'owner' END, @now FROM accounts;
        UPDATE payments SET provider_payment = id WHERE id % 2 = 0;
        INSERT INTO provider_refunds (payment, amount, key, reason, actor, created, status)
        SELECT id, 1, 'r' || id, 'r', 'o', @now, 'done' FROM provider_payments WHERE id % 5 = 0;
        INSERT INTO provider_events (provider, event, type, received, body, payment, handled)
        SELECT 'stripe', 'evt_' || p.id || '_' || n, 't', @now - interval '1 hour' * p.id, CASE n WHEN 1 THEN '{}'
            ELSE '' END, p.id, @now FROM provider_payments p, generate_series(1, 2) AS n;
        INSERT INTO account_references (email, code)
        SELECT email, translate(lpad(row_number() OVER ()::text, 8, '0'), '01', 'AB')
        FROM accounts;
        INSERT INTO bank_lines (entry, booked, amount, payer, message, imported, actor, state, email, payment)
        SELECT 'e' || p.id, @now, 5, 'p', 'm', @now, 'o', 'assigned', p.email, p.id FROM payments p WHERE p.id % 3 = 0;
        INSERT INTO ledger_accounts (type, email) SELECT 'customer', email FROM accounts;
        INSERT INTO ledger_transactions (at, kind, entries, payment, turn)
        SELECT created, 'payment', 2, id, 1 FROM payments;
        INSERT INTO ledger_entries (transaction, line, entries, account, amount)
        SELECT t.id, 1, 2, 2, p.dollars FROM ledger_transactions t JOIN payments p ON p.id = t.payment
        UNION ALL SELECT t.id, 2, 2, a.id, -p.dollars FROM ledger_transactions t JOIN payments p ON p.id = t.payment
            JOIN ledger_accounts a ON a.email = p.email;
        INSERT INTO sellers (active_from, name, address) VALUES (@now - interval '10 years', 's', 's');
        INSERT INTO billing_addresses (email, name, address, tax_number) SELECT email, 'n', 'a', '' FROM accounts;
        INSERT INTO payment_taxes (transaction, seller, gross, net, tax)
        SELECT t.id, (SELECT min(id) FROM sellers), 5, 5, 0 FROM ledger_transactions t WHERE t.payment IS NOT NULL;
        INSERT INTO receipts (number, transaction, issued, seller, name, address, tax_number, gross, net, tax)
        SELECT row_number() OVER (ORDER BY t.id), t.id, @now, (SELECT min(id) FROM sellers), 'n', 'a', '', 5, 5, 0
        FROM ledger_transactions t WHERE t.payment % 2 = 0;
        INSERT INTO provider_payouts (provider, reference, arrived, amount, fees, recorded, actor)
        SELECT 'stripe', 'po_' || n, @now::date - n, 1, 0, @now, 'o' FROM generate_series(1, 3000) AS n;
        INSERT INTO ledger_transactions (at, kind, entries)
        SELECT date_trunc('hour', @now) - interval '1 hour' * n, 'usage', 3
        FROM generate_series(20000, 0, -1) AS n;
        INSERT INTO ledger_entries (transaction, line, entries, account, amount, hour)
        SELECT t.id, 1, 3, (SELECT id FROM ledger_accounts WHERE email = 'old@example.org'), 0.01, t.at
        FROM ledger_transactions t WHERE kind = 'usage'
        UNION ALL SELECT t.id, 2, 3, (SELECT id FROM ledger_accounts WHERE email = 'new@example.org'), 0.01, t.at
        FROM ledger_transactions t WHERE kind = 'usage' AND t.at > @now - interval '3 days'
        UNION ALL SELECT t.id, 3, 3, 1, -0.02, NULL FROM ledger_transactions t WHERE kind = 'usage';
        INSERT INTO addresses (host, address, mac, vm)
        SELECT h.id, '10.77.0.0'::inet + n, ('52:54:00:00:00:' || lpad(to_hex(n), 2, '0'))::macaddr, NULL
        FROM hosts h, generate_series(2, 101) AS n;
        INSERT INTO pools (host, family, network, gateway, first, last)
        SELECT id, 4, '10.77.0.0/24', '10.77.0.1', '10.77.0.2', '10.77.0.101' FROM hosts;
        UPDATE addresses a SET vm = v.id FROM (
            SELECT id, host, row_number() OVER (PARTITION BY host ORDER BY id) AS n FROM vms WHERE deleted IS NULL) AS v
        WHERE a.host = v.host AND a.address = '10.77.0.0'::inet + v.n + 1;
        UPDATE hosts SET forward_first = 31000, forward_last = 31999;
        INSERT INTO firewalls SELECT id, 'closed' FROM vms WHERE deleted IS NULL;
        INSERT INTO firewall_rules SELECT id, 'tcp', n, n FROM vms, generate_series(22, 24) AS n
            WHERE deleted IS NULL;
        INSERT INTO ports (vm, vm_port, via, host, port, opened)
        SELECT id, 80, 'host', host, 31000 + row_number() OVER (PARTITION BY host ORDER BY id), @now
        FROM vms WHERE deleted IS NULL
        UNION ALL SELECT id, 22, 'hub', NULL, 20000 + row_number() OVER (ORDER BY id), @now
        FROM vms WHERE email IN ('old@example.org', 'new@example.org') AND deleted IS NULL;
        INSERT INTO sites (name, vm, vm_port, added) SELECT 'n' || right(id, 10), id, 80, @now FROM vms
            WHERE deleted IS NULL;
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        SELECT email, 'k' || n, 't', 'k', 'f' || n, @now FROM accounts, generate_series(1, 5) AS n;
        INSERT INTO vm_ssh_keys (vm, name, type, key) SELECT id, 'k', 't', 'k' FROM vms;
        INSERT INTO vm_ssh_host_keys (vm, type, key, fingerprint) SELECT id, 't', 'k', 'f' FROM vms;
        INSERT INTO sessions (id_hash, email, created, expires)
        SELECT sha256((email || n)::bytea), email, @now, @now + interval '1 day' * (n - 2)
        FROM accounts, generate_series(1, 5) AS n;
        INSERT INTO sign_in_tokens (token_hash, email, ip, created, expires)
        SELECT sha256((email || n)::bytea), email, '10.0.0.1'::inet + abs(hashtext(email) % 1000),
            @now - interval '1 hour' * n, @now - interval '1 hour' * n FROM accounts, generate_series(1, 10) AS n;
        INSERT INTO mails (recipient, subject, body, created, run_at, sent)
        SELECT email, 's', 'b', @now, @now, @now FROM accounts, generate_series(1, 10) AS n;
        INSERT INTO audit_lines (actor, action, subject) SELECT email, 'start', id FROM vms;
        INSERT INTO operator_statements (operator, statement) SELECT 'o', id FROM vms;
        """;

    const string FillYoungSql = """
        SET session_replication_role = replica;
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, observed)
        SELECT id, email, id, 'f1-s', 'tiny', 'a', 'u', 'h1', @now, 7.50, 1, 1024, 25, 'running', 'on', 1, 'on'
        FROM (SELECT 'capsul-' || lpad(n::text, 10, 'u'), 'user' || n || '@example.org'
                FROM generate_series(1, 30000) AS n
            UNION ALL SELECT 'capsul-old0000001', 'old@example.org') AS v (id, email);
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT id, email, tstzrange(@now - interval '1 hour', NULL), 7.50 FROM vms;
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT 'capsul-old0000001', 'old@example.org', tstzrange(@now - interval '6 hours' * (n + 1),
            @now - interval '6 hours' * n), 7.50 FROM generate_series(1, 7300) AS n;
        INSERT INTO vm_totals (vm, email, spans) SELECT vm, email, count(*) FROM usage_spans GROUP BY vm, email
        """;
}
