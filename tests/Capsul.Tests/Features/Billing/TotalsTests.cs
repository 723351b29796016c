using Capsul.Hub.Features.Billing;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.Billing;

/// <summary>
/// The totals are exactly what a sum over all rows is, whatever happened to the rows, at any time that is asked for.
/// </summary>
public sealed class TotalsTests
{
    const int Steps = 120;

    static readonly string[] Emails = ["ada@example.org", "bob@example.org", "eve@example.org"];

    static readonly DateTime Start = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Things that the program, or an operator on the SQL command line, does to the rows.</summary>
    static readonly string[] Changes =
    [
        """
        INSERT INTO payments (email, dollars, method, invalidated)
        SELECT email, 0.01 + (hashtext(email || @salt) & 1023), 'cash', hashtext(@salt) & 1 = 1
        FROM accounts WHERE hashtext(email || @salt) & 1 = 0
        """,
        "UPDATE payments SET invalidated = NOT invalidated WHERE hashint4(id + @n) & 3 = 0",
        """
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation)
        SELECT 'capsul-' || substr(md5(email || @salt), 1, 10), email, 'n' || substr(md5(email || @salt), 1, 10),
            'f1-s', 'tiny', 'x', 'u', 'h' || (@n & 1), @now, 7.50, 1, 1024, 25, 'running', 'on', 1
        FROM accounts
        """,
        """
        UPDATE vms SET deleted = @now, state = 'deleted', wanted = 'gone'
        WHERE deleted IS NULL AND hashtext(id || @salt) & 7 = 0
        """,
        """
        UPDATE vms SET host = 'h' || (1 - substr(host, 2)::integer), memory_mb = memory_mb + 512, vcpus = vcpus + 1,
            disk_gb = disk_gb - 1, dollars_per_month = dollars_per_month + 0.13
        WHERE hashtext(id || @salt) & 7 = 0
        """,
        """
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT v.id, v.email, tstzrange(greatest(@now, l.latest) + make_interval(secs => @n & 63), NULL),
            v.dollars_per_month
        FROM vms v, LATERAL (SELECT max(upper(span)) AS latest, coalesce(bool_or(upper_inf(span)), FALSE) AS open
            FROM usage_spans WHERE vm = v.id AND extra IS NULL) AS l
        WHERE NOT l.open AND hashtext(v.id || @salt) & 1 = 0
        """,
        """
        UPDATE usage_spans SET span = tstzrange(lower(span), greatest(@now, lower(span)) + interval '1.000001 seconds')
        WHERE upper_inf(span) AND hashint8(id + @n) & 1 = 0
        """,
        "UPDATE usage_spans SET dollars_per_month = dollars_per_month + 0.01 WHERE hashint8(id + @n) & 7 = 0",
        "DELETE FROM usage_spans WHERE hashint8(id + @n) & 15 = 0",
        "UPDATE accounts SET email = @salt || email WHERE email = (SELECT max(email) FROM accounts)",
        """
        DELETE FROM vms v
        WHERE hashtext(id || @salt) & 3 = 0 AND NOT EXISTS (SELECT FROM usage_spans WHERE vm = v.id)
            AND NOT EXISTS (SELECT FROM moves WHERE vm = v.id)
        """,
        """
        INSERT INTO moves (vm, from_host, to_host, transfer, was, started, ended, copy_host, copy_generation, vcpus,
            memory_mb, disk_gb)
        SELECT id, 'h0', 'h1', md5(id || @salt), 'running', @now, @now, 'h' || (@n & 1), 1, vcpus, memory_mb, disk_gb
        FROM vms v WHERE hashtext(id || @salt) & 1 = 0
            AND NOT EXISTS (SELECT FROM moves m WHERE m.vm = v.id AND m.copy_host IS NOT NULL)
        """,
        """
        UPDATE moves SET copy_host = CASE WHEN hashtext(transfer || @salt) & 1 = 0 THEN NULL
            ELSE 'h' || (1 - substr(copy_host, 2)::integer) END
        WHERE copy_host IS NOT NULL AND hashtext(vm || @salt) & 3 = 0
        """,
        "DELETE FROM moves WHERE hashtext(vm || @salt) & 7 = 0",
        """
        INSERT INTO vm_extras (vm, kind, dollars_per_month, added) SELECT id, 'ipv4-address', 2.25, @now FROM vms
        WHERE deleted IS NULL AND wanted <> 'gone' AND hashtext(id || @salt) & 3 = 0
        """,
        """
        UPDATE vm_extras SET dollars_per_month = dollars_per_month + 0.07,
            removed = coalesce(removed, CASE WHEN hashint8(id + @n) & 1 = 0 THEN @now END)
        WHERE hashint8(id + @n) & 2 = 0
        """,
        """
        INSERT INTO usage_spans (vm, extra, email, span, dollars_per_month)
        SELECT v.id, x.id, v.email, tstzrange(greatest(@now, l.latest), NULL), x.dollars_per_month
        FROM vm_extras x JOIN vms v ON v.id = x.vm, LATERAL (SELECT max(upper(span)) AS latest,
            coalesce(bool_or(upper_inf(span)), FALSE) AS open FROM usage_spans WHERE extra = x.id) AS l
        WHERE NOT l.open
        """,
        "INSERT INTO accounts (email) VALUES (@salt || '@example.org') ON CONFLICT DO NOTHING",
        "UPDATE vms SET observed_at = @now",
    ];

    [Theory]
    [InlineData(1), InlineData(2), InlineData(3)]
    public async Task Totals_are_exactly_the_sums_of_the_rows(int seed)
    {
        await using var database = await TestDatabase.CreateAsync();
        await FillAsync(database.Db);
        var random = new Random(seed);
        var now = Start;
        for (var step = 0; step < Steps; step++)
        {
            // Sometimes backward: the clock of another Hub.
            now += TimeSpan.FromTicks(random.NextInt64(-TimeSpan.TicksPerMinute, TimeSpan.TicksPerDay) / 10 * 10);
            var change = Changes[random.Next(Changes.Length)];
            await database.Db.ExecuteAsync(
                change, new { now, n = random.Next(1 << 20), salt = $"s{step}" }, Cancel);
            (await database.Db.ListAsync<string>(WrongSql, null, Cancel)).ShouldBeEmpty($"seed {seed}: {change}");
            if (step % 10 == 0) await CompareReadsAsync(database.Db, now + TimeSpan.FromHours(random.Next(-48, 48)));
        }
        await CompareReadsAsync(database.Db, now);
        await database.Db.ExecuteAsync("TRUNCATE usage_spans", null, Cancel);
        (await database.Db.ListAsync<string>(WrongSql, null, Cancel)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_transaction_that_is_rolled_back_leaves_the_totals()
    {
        await using var database = await TestDatabase.CreateAsync();
        await FillAsync(database.Db);
        await Should.ThrowAsync<PostgresException>(() => database.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method) VALUES (@email, 5, 'cash'), (@email, -1, 'cash')",
            new { email = Emails[0] }, Cancel));
        (await database.Db.ListAsync<string>(WrongSql, null, Cancel)).ShouldBeEmpty();
    }

    [Fact]
    public async Task Two_that_pay_for_the_same_accounts_at_once_both_count()
    {
        await using var database = await TestDatabase.CreateAsync();
        await FillAsync(database.Db);
        await Task.WhenAll(Enumerable.Range(0, 12).Select(n => database.Db.ExecuteAsync(
            $"INSERT INTO payments (email, dollars, method) SELECT email, 1, 'cash' FROM accounts ORDER BY email "
                + (n % 2 == 0 ? "" : "DESC"), null, Cancel)));
        (await database.Db.FindAsync<decimal>("SELECT sum(paid) FROM account_totals", null, Cancel)).ShouldBe(36);
    }

    static Task<int> FillAsync(Db db) => db.ExecuteAsync(
        """
        INSERT INTO accounts (email) SELECT unnest(@emails);
        INSERT INTO hosts (id, state) VALUES ('h0', 'joined'), ('h1', 'joined');
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('tiny', 'T', 'u', 1, 64);
        """, new { emails = Emails }, Cancel);

    /// <summary>What the pages and decisions read, against sums that know no totals.</summary>
    static async Task CompareReadsAsync(Db db, DateTime now)
    {
        foreach (var email in await db.ListAsync<string>("SELECT email FROM accounts", null, Cancel))
        {
            var balance = (await db.FindAsync<BalanceRow>(BillingSql.Balance, new { email, now }, Cancel))!;
            balance.ShouldBe(await db.FindAsync<BalanceRow>(NaiveBalanceSql, new { email, now }, Cancel), email);
            (await db.FindAsync<int>(BillingSql.CountAlive, new { email }, Cancel)).ShouldBe(
                await db.FindAsync<int>("SELECT count(*)::integer FROM vms WHERE email = @email AND deleted IS NULL",
                    new { email }, Cancel));
            var costs = await db.ListAsync<VmCostRow>(
                BillingSql.CostOfVms, new { email, now, search = "", after = "", limit = 1000 }, Cancel);
            (await db.FindAsync<long>(BillingSql.CountCosts, new { email, search = "" }, Cancel))
                .ShouldBe(costs.Count);
            foreach (var cost in costs)
            {
                var naive = await db.FindAsync<decimal>(NaiveCostSql, new { vm = cost.Vm, now }, Cancel);
                cost.Used.ShouldBe(naive, cost.Vm);
                (await db.FindAsync<decimal>(BillingSql.CostOfVm, new { vm = cost.Vm, now }, Cancel)).ShouldBe(naive);
            }
        }
    }

    const string NaiveUsed = """
        coalesce(sum(extract(epoch FROM least(coalesce(upper(u.span), @now), @now) - lower(u.span))
            * u.dollars_per_month), 0) / (30.44 * 86400)
        """;

    const string NaiveBalanceSql = $"""
        SELECT (SELECT coalesce(sum(dollars), 0) FROM payments WHERE email = @email AND NOT invalidated) AS paid,
            (SELECT {NaiveUsed} FROM usage_spans u WHERE u.email = @email AND lower(u.span) < @now) AS used,
            (SELECT coalesce(sum(dollars_per_month), 0) FROM vms WHERE email = @email AND deleted IS NULL)
                + (SELECT coalesce(sum(x.dollars_per_month), 0) FROM vm_extras x JOIN vms v ON v.id = x.vm
                    WHERE v.email = @email AND v.deleted IS NULL AND x.removed IS NULL) AS dollars_per_month
        """;

    const string NaiveCostSql = $"SELECT {NaiveUsed} FROM usage_spans u WHERE u.vm = @vm AND lower(u.span) < @now";

    /// <summary>Every total that differs from its rows.</summary>
    internal const string WrongSql = """
        SELECT 'account ' || t.email FROM account_totals t FULL JOIN (
            SELECT a.email,
                (SELECT coalesce(sum(dollars) FILTER (WHERE NOT invalidated), 0) FROM payments WHERE email = a.email),
                (SELECT count(*) FROM payments WHERE email = a.email),
                (SELECT coalesce(sum(dollars_per_month * (extract(epoch FROM upper(span))
                    - extract(epoch FROM lower(span)))), 0) FROM usage_spans
                    WHERE email = a.email AND NOT upper_inf(span)),
                (SELECT coalesce(sum(dollars_per_month), 0) FROM usage_spans WHERE email = a.email AND upper_inf(span)),
                (SELECT coalesce(sum(dollars_per_month * extract(epoch FROM lower(span))), 0) FROM usage_spans
                    WHERE email = a.email AND upper_inf(span)),
                (SELECT count(DISTINCT vm) FROM usage_spans WHERE email = a.email),
                (SELECT count(*) FROM vms WHERE email = a.email AND deleted IS NULL),
                (SELECT coalesce(sum(dollars_per_month), 0) FROM vms WHERE email = a.email AND deleted IS NULL)
                    + (SELECT coalesce(sum(x.dollars_per_month), 0) FROM vm_extras x JOIN vms v ON v.id = x.vm
                        WHERE v.email = a.email AND v.deleted IS NULL AND x.removed IS NULL)
            FROM accounts a) AS r (email, paid, payments, used, rate, start, charged, vms, price) USING (email)
        WHERE (t.paid, t.payments, t.used, t.open_rate, t.open_start, t.charged_vms, t.vms, t.dollars_per_month)
            IS DISTINCT FROM (r.paid, r.payments, r.used, r.rate, r.start, r.charged, r.vms, r.price)
        UNION ALL
        SELECT 'vm ' || coalesce(t.vm, r.vm) FROM vm_totals t FULL JOIN (
            SELECT vm, email, count(*), coalesce(sum(dollars_per_month * (extract(epoch FROM upper(span))
                - extract(epoch FROM lower(span)))) FILTER (WHERE NOT upper_inf(span)), 0)
            FROM usage_spans GROUP BY vm, email) AS r (vm, email, spans, used) USING (vm, email)
        WHERE (coalesce(t.spans, 0), coalesce(t.used, 0)) IS DISTINCT FROM (coalesce(r.spans, 0), coalesce(r.used, 0))
        UNION ALL
        SELECT 'host ' || h.id FROM hosts h LEFT JOIN (
            SELECT host, count(*), sum(vcpus), sum(memory_mb), sum(disk_gb) FROM (
                SELECT host, vcpus, memory_mb, disk_gb FROM vms WHERE deleted IS NULL
                UNION ALL SELECT copy_host, vcpus, memory_mb, disk_gb FROM moves WHERE copy_host IS NOT NULL) AS both_of
            GROUP BY host) AS r (host, vms, vcpus, memory, disk) ON r.host = h.id
        WHERE (h.vms, h.vcpus_used, h.memory_used_mb, h.disk_used_gb)
            IS DISTINCT FROM (coalesce(r.vms, 0), coalesce(r.vcpus, 0), coalesce(r.memory, 0), coalesce(r.disk, 0))
        """;
}
