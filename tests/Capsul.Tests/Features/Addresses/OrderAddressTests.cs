using Capsul.Foundation;
using Capsul.Hub.Features.Addresses;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Repairs;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.SpendingLimits;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Tests.Features.Addresses;

/// <summary>Further addresses of VMs: who gets one, what it costs, and when it is free again.</summary>
public sealed class OrderAddressTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_address_is_ordered_charged_with_its_vm_and_given_back()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        var generation = (await rows.FindAsync(vm, Cancel)).WantedGeneration;
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await rows.OrderAsync(vm, seen: 2)).OrThrow().ShouldBe(new OrderAddress.Ordered("203.0.113.3", 2));
        (await rows.OrderAsync(vm, email: null)).OrThrow().Address.ShouldBe("203.0.113.4", "an operator may, too");
        (await rows.AddressesAsync(vm)).ShouldBe(
            ["rack1 203.0.113.2", "rack1 203.0.113.3 further", "rack1 203.0.113.4 further"]);
        (await rows.FindAsync(vm, Cancel)).ShouldSatisfyAllConditions(v => v.Address.ShouldBe("203.0.113.2"),
            v => v.ExtrasPerMonth.ShouldBe(4), v => v.WantedGeneration.ShouldBe(generation + 2));
        (await rows.Db.ListAsync<WantedRow>(
            HostSql.Wanted, new { host = VmRows.Host, since = generation }, Cancel)).ShouldHaveSingleItem()
            .Further.ShouldBe("203.0.113.3 2.00\n203.0.113.4 2.00");
        (await rows.MonthlyAsync()).ShouldBe(9);
        rows.Time.Advance(TimeSpan.FromHours(2));
        (await rows.ReturnAsync(vm, "203.0.113.4")).OrThrow();
        (await rows.SpansAsync()).ShouldBe(
            ["vm open 5.00", "ipv4-address open 2.00", "ipv4-address 2.00 2.00"]);
        (await rows.MonthlyAsync()).ShouldBe(7);
        (await rows.Db.AskAsync<DateTime>("SELECT usable_from FROM addresses WHERE address = '203.0.113.4'", null,
            Cancel)).ShouldBe(rows.Now.AddMinutes(5), "its guest may still use it for a moment");
        await rows.AgreesAsync();
        var month = await Month.LoadAsync(rows.Db, VmRows.Email, new DateTime(2026, 3, 1, 0, 0, 0, DateTimeKind.Utc),
            rows.Now, Cancel);
        month.Charged.Select(c => $"{c.Size} {c.Seconds / 3600:0} {c.DollarsPerMonth}")
            .ShouldBe(["f1-xs 5 5.00", "ipv4-address 6 2.00"]);
        month.ToCsv("USD").ShouldContain($"usage (exact),,{vm},ipv4-address,21600,2.00,");
    }

    /// <summary>Whatever its VM is not charged for, it is not charged for either.</summary>
    [Fact]
    public async Task A_further_address_is_charged_exactly_when_its_vm_is()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        (await rows.OrderAsync(vm)).OrThrow();
        rows.Time.Advance(TimeSpan.FromHours(5));
        // Its host was last heard of when the VM began.
        (await new HostHealth(rows.Db, rows.Fence, rows.Time).LookAsync(rows.Epoch, Cancel)).ShouldBe(1);
        (await rows.SpansAsync()).ShouldBeEmpty();
        // Its guest would go on using what is given back now, beside whoever gets it next.
        (await rows.OrderAsync(vm)).Problem!.Message.ShouldStartWith("We lost contact with rack1");
        (await rows.ReturnAsync(vm, "203.0.113.3")).Problem!.Message.ShouldStartWith("We lost contact with rack1");
        (await rows.AddressesAsync(vm)).Count.ShouldBe(2);
        (await rows.SpansAsync()).ShouldBeEmpty();
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        (await rows.SpansAsync()).ShouldBe(["vm open 5.00", "ipv4-address open 2.00"]);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => (r.Paused, r.Problem) = (true, "It is full."));
        (await rows.SpansAsync()).ShouldBe(["vm 1.00 5.00", "ipv4-address 1.00 2.00"]);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        // Stopped capsuls are charged, and so are their addresses.
        (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.SpansAsync()).Count(s => s.Contains("open", StringComparison.Ordinal)).ShouldBe(2);
        // One that was lost is put right by fsck.
        await rows.Db.ExecuteAsync("DELETE FROM usage_spans WHERE extra IS NOT NULL AND upper_inf(span)", null, Cancel);
        (await rows.Db.ListAsync<FindingRow>(
            RepairSql.Find, new { host = "", lately = rows.Now }, Cancel))
            .ShouldContain(f => f.Kind == "usage_missing" && f.Subject == vm);
        await rows.Db.ExecuteAsync(VmSql.OpenUsage, new { ids = new[] { vm }, now = rows.Now }, Cancel);
        (await rows.SpansAsync()).Count(s => s.Contains("open", StringComparison.Ordinal)).ShouldBe(2);
        await rows.AgreesAsync();
    }

    [Fact]
    public async Task A_vm_that_is_deleted_leaves_no_address_and_no_charge()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        (await rows.OrderAsync(vm)).OrThrow();
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await rows.ChangeAsync(VmActions.Delete, vm, Cancel)).OrThrow();
        (await rows.OrderAsync(vm)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await rows.ReturnAsync(vm, "203.0.113.3")).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await rows.AddressesAsync(vm)).Count.ShouldBe(2, "its Spoke has not said that it is gone");
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.AddressesAsync(vm)).ShouldBeEmpty();
        (await rows.CountAsync("addresses", "extra IS NOT NULL", Cancel)).ShouldBe(0);
        (await rows.CountAsync("vm_extras", "removed IS NULL", Cancel)).ShouldBe(0);
        (await rows.SpansAsync()).ShouldBe(["vm 1.00 5.00", "ipv4-address 1.00 2.00"]);
        (await rows.MonthlyAsync()).ShouldBe(0);
        (await rows.OrderAsync(vm)).Problem.ShouldBe(VmAction.NotFound);
        await rows.AgreesAsync();
    }

    [Fact]
    public async Task Who_cannot_have_one_is_told_why()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        (await rows.OrderAsync(vm, "eve@example.org")).Problem.ShouldBe(VmAction.NotFound);
        (await rows.ReturnAsync(vm, "203.0.113.2")).Problem!.Message.ShouldContain("not a further address");
        (await rows.OrderAsync(vm, seen: 1.5m)).Problem!.Message.ShouldContain("costs $2.00 a month now");
        foreach (var (sql, sentence) in ((string, string)[])[
            ("UPDATE hosts SET gives_more_addresses = FALSE", "too old to give a capsul further"),
            ("UPDATE pools SET network = '10.77.0.0/28', gateway = '10.77.0.1', first = '10.77.0.2', "
                + "last = '10.77.0.7'", "are private (10.77.0.0/28)"),
            ("DELETE FROM pools", "has not reported its network"),
            ("ALTER TABLE prices DISABLE TRIGGER prices_stay; DELETE FROM prices WHERE of_size IS NULL; "
                + "ALTER TABLE prices ENABLE TRIGGER prices_stay", "not offered here"),
            ("UPDATE payments SET invalidated = TRUE", "Top up first"),
            ("INSERT INTO dunning (email, step, taken) SELECT email, 99, now() FROM accounts", "Add money"),
            ("UPDATE vms SET state = 'moving'", "is moving"),
            ("INSERT INTO account_closings (email, actor, reason, asked, due, money, pay_to) "
                + "SELECT email, email, '', now(), now(), 'fund', '' FROM accounts", "being closed"),
            ("UPDATE addresses SET reserved = 'x' WHERE vm IS NULL",
                "All addresses are in use on rack1 (203.0.113.0/28)")])
        {
            await rows.Db.ExecuteAsync(sql, null, Cancel);
            (await rows.OrderAsync(vm)).Problem!.Message.ShouldContain(sentence, customMessage: sql);
            await rows.Db.ExecuteAsync(Restore, new { now = rows.Now }, Cancel);
        }
        (await OrderAddress.RunAsync(rows.Db, "ops", null, vm, null, rows.Settings.With(("CAPSUL_MAX_ADDRESSES", "0")),
            rows.Time, Cancel)).Problem!.Message.ShouldContain("0 further addresses, or had them within a day");
        (await rows.AddressesAsync(vm)).ShouldBe(["rack1 203.0.113.2"], "nothing is left of what was refused");
        (await rows.CountAsync("vm_extras", "TRUE", Cancel)).ShouldBe(0);
        (await rows.OrderAsync(vm)).OrThrow();
    }

    /// <summary>Each obstacle is there for one order only.</summary>
    const string Restore = """
        UPDATE hosts SET gives_more_addresses = TRUE;
        INSERT INTO pools (host, family, network, gateway, first, last)
        VALUES ('rack1', 4, '203.0.113.0/28', '203.0.113.1', '203.0.113.2', '203.0.113.7')
        ON CONFLICT (host, family) DO UPDATE SET network = excluded.network, gateway = excluded.gateway,
            first = excluded.first, last = excluded.last;
        INSERT INTO prices (size, active_from, dollars_per_month, announced)
        VALUES ('ipv4-address', @now, 2, @now) ON CONFLICT DO NOTHING;
        UPDATE payments SET invalidated = FALSE; DELETE FROM dunning; UPDATE vms SET state = 'running';
        DELETE FROM account_closings; UPDATE addresses SET reserved = ''
        """;

    /// <summary>What the owner has set for a month holds for all that is new.</summary>
    [Fact]
    public async Task An_address_beyond_the_cap_of_a_month_is_refused()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        async Task CapAsync(string dollars) => (await SetSpendingLimits.RunAsync(rows.Db, rows.Settings,
            VmRows.Email, new SetSpendingLimits.Input(dollars, null, null), rows.Time, Cancel)).OrThrow();

        await CapAsync("5.10");
        (await rows.OrderAsync(vm)).Problem!.Message.ShouldStartWith("With this address, this month would cost $7.");
        (await rows.SpansAsync()).ShouldBe(["vm open 5.00"]);
        await CapAsync("7.20");
        (await rows.OrderAsync(vm)).OrThrow();
        (await rows.OrderAsync(vm)).Problem!.Message.ShouldContain("you have set that it may cost $7.20");
    }

    [Fact]
    public async Task The_last_address_of_a_pool_is_had_by_one_only_and_a_vm_has_at_most_eight()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        await rows.Db.ExecuteAsync(
            "UPDATE addresses SET reserved = 'x' WHERE address > '203.0.113.3'", null, Cancel);
        var both = await Task.WhenAll(rows.OrderAsync(vm), rows.OrderAsync(vm, email: null));
        both.Count(o => o.Problem is null).ShouldBe(1);
        both.Single(o => o.Problem is not null).Problem!.Message
            .ShouldContain("All addresses are in use on rack1 (203.0.113.0/28)");
        (await rows.CountAsync("vm_extras", "TRUE", Cancel)).ShouldBe(1);
        await rows.Db.ExecuteAsync("""
            UPDATE addresses SET reserved = '';
            INSERT INTO addresses (host, address, mac) SELECT 'rack1', '203.0.113.0'::inet + n,
                ('52:54:cb:00:71:' || n)::macaddr FROM generate_series(20, 29) AS n
            """, null, Cancel);
        for (var n = 2; n <= Protocol.MaxFurtherAddresses; n++) (await rows.OrderAsync(vm)).OrThrow();
        (await rows.OrderAsync(vm)).Problem!.Message.ShouldContain("at most 8 further addresses");
        await rows.AgreesAsync();
    }

    [Theory]
    [InlineData("UPDATE addresses SET extra = 1 WHERE vm IS NULL", "addresses_extra_is_some_vms")]
    [InlineData("UPDATE addresses SET vm = NULL WHERE extra = 1", "addresses_extra_is_some_vms")]
    [InlineData("UPDATE addresses SET vm = @vm, extra = 99 WHERE address = '203.0.113.7'", "addresses_extra_of_vm")]
    [InlineData("UPDATE addresses SET vm = @other WHERE extra = 1", "addresses_extra_of_vm")]
    [InlineData("UPDATE addresses SET vm = @vm, extra = 1 WHERE address = '203.0.113.7'", "addresses_one_on_a_host")]
    [InlineData("UPDATE addresses SET extra = NULL WHERE extra = 1", "addresses_one_on_a_host")]
    [InlineData("UPDATE usage_spans SET vm = @other WHERE extra = 1", "usage_spans_extra_of_vm")]
    [InlineData("INSERT INTO usage_spans (vm, extra, email, span, dollars_per_month) SELECT vm, extra, email, span, 2 "
        + "FROM usage_spans WHERE extra = 1", "usage_spans_no_overlap")]
    [InlineData("INSERT INTO usage_spans (vm, email, span, dollars_per_month) SELECT vm, email, span, 2 "
        + "FROM usage_spans WHERE vm = @vm AND extra IS NULL", "usage_spans_no_overlap")]
    [InlineData("DELETE FROM vm_extras", "usage_spans_extra_of_vm")]
    [InlineData("UPDATE vm_extras SET vm = @other", "vm_extras_stay")]
    [InlineData("UPDATE vm_extras SET removed = now(); UPDATE vm_extras SET removed = NULL", "vm_extras_stay")]
    [InlineData("UPDATE vm_extras SET dollars_per_month = -1", "vm_extras_dollars_per_month_check")]
    [InlineData("INSERT INTO vm_extras (vm, kind, dollars_per_month, added) VALUES (@vm, 'horse', 1, now())",
        "vm_extras_kind_check")]
    [InlineData("UPDATE vms SET wanted = 'gone' WHERE id = @other; INSERT INTO vm_extras (vm, kind, "
        + "dollars_per_month, added) VALUES (@other, 'ipv4-address', 1, now())", "vm_extras_of_living_vm")]
    [InlineData("INSERT INTO sizes (id, dollars_per_month, vcpus, memory_mb, disk_gb) VALUES ('ipv4-address', 1, 1, "
        + "64, 1)", "sizes_id_is_no_extra")]
    [InlineData("INSERT INTO prices (size, active_from, dollars_per_month, announced) VALUES ('horse', now(), 1, "
        + "now())", "prices_of_size_fkey")]
    public async Task The_database_refuses_what_cannot_be(string sql, string constraint)
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        (await rows.OrderAsync(vm)).OrThrow();
        var other = await rows.NewVmAsync(Cancel);
        (await Should.ThrowAsync<PostgresException>(rows.Db.ExecuteAsync(sql, new { vm, other }, Cancel)))
            .ConstraintName.ShouldBe(constraint);
    }

    [Fact]
    public async Task A_new_price_is_for_all_further_addresses_and_for_nothing_else()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        var changes = new PriceChanges(rows.Db, rows.Fence, rows.Time);
        await changes.LookAsync(rows.Epoch, Cancel);
        (await rows.OrderAsync(vm)).OrThrow();
        (await rows.OrderAsync(vm)).OrThrow();
        await AddressRows.PriceAsync(rows, 3, TimeSpan.FromHours(2));
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await rows.ReturnAsync(vm, "203.0.113.4")).OrThrow();
        rows.Time.Advance(TimeSpan.FromHours(2));
        (await changes.LookAsync(rows.Epoch, Cancel)).ShouldBe(1);
        (await changes.LookAsync(rows.Epoch, Cancel)).ShouldBe(0);
        (await rows.SpansAsync()).ShouldBe(
            ["vm open 5.00", "ipv4-address 2.00 2.00", "ipv4-address open 3.00", "ipv4-address 1.00 2.00"]);
        (await rows.MonthlyAsync()).ShouldBe(8);
        // That of the size is not for addresses.
        await rows.Db.AskAsync<long>(PriceSql.Add,
            new { size = "f1-xs", from = rows.Now, dollars = 6m, now = rows.Now }, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await changes.LookAsync(rows.Epoch, Cancel)).ShouldBe(1);
        (await rows.SpansAsync()).ShouldBe(["vm 3.00 5.00", "vm open 6.00", "ipv4-address 2.00 2.00",
            "ipv4-address open 3.00", "ipv4-address 1.00 2.00"]);
        await rows.AgreesAsync();
    }
}
