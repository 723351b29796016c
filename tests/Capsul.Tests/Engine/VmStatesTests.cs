using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Tests.Engine;

/// <summary>
/// The states of a VM in the database: no state is a dead end, nothing is charged without use, no address is used
/// twice.
/// </summary>
public sealed partial class VmStatesTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>
    /// Every kind of operation is run to every ending that the engine has, while a trigger records state transitions;
    /// the graph checked is what the code did.
    /// </summary>
    [Fact]
    public async Task Every_state_leads_to_running_or_gone()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            CREATE TABLE walked (before text, after text);
            CREATE FUNCTION walk() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO walked VALUES (CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state);
            RETURN NULL; END $$;
            CREATE TRIGGER walked AFTER INSERT OR UPDATE OF state ON vms FOR EACH ROW EXECUTE FUNCTION walk();
            """, null, Cancel);
        foreach (var ending in Enum.GetValues<Ending>())
        {
            await CarryAsync(rows, null, ending);
            foreach (var action in VmActions.All) await CarryAsync(rows, action, ending);
            await CarryMoveAsync(rows, ending);
            await CarryReinstallAsync(rows, ending);
            await CarryRescueAsync(rows, ending, ends: false);
            await CarryRescueAsync(rows, ending, ends: true);
        }
        var stopped = await rows.RunningVmAsync(Cancel);
        await rows.ReportAsync(stopped, Power.Off, Phase.None, Cancel, r => r.StoppedItself = true);
        await AssertExitsAsync(rows);
    }

    static async Task AssertExitsAsync(VmRows rows)
    {
        var allowed = await rows.Db.FindAsync<string>(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'vms_state_check'", null, Cancel);
        var states = StateName().Matches(allowed!).Select(m => m.Groups[1].Value).ToHashSet(StringComparer.Ordinal);
        var steps = (await rows.Db.ListAsync<(string? Before, string After)>(
            "SELECT DISTINCT before, after FROM walked", null, Cancel))
            .Where(s => s.Before is not null).ToLookup(s => s.Before!, s => s.After, StringComparer.Ordinal);
        steps.Select(s => s.Key).Concat(steps.SelectMany(s => s))
            .Distinct(StringComparer.Ordinal).ShouldBe(states, ignoreOrder: true);
        foreach (var state in states)
        {
            var (seen, todo) = (new HashSet<string>(StringComparer.Ordinal) { state }, new Stack<string>([state]));
            while (todo.TryPop(out var at))
            {
                foreach (var next in steps[at].Where(seen.Add)) todo.Push(next);
            }
            seen.Overlaps(["running", "deleted", "failed"]).ShouldBeTrue($"{state} leads to {string.Join(", ", seen)}");
        }
    }

    [System.Text.RegularExpressions.GeneratedRegex(
        "'([a-z]+)'", System.Text.RegularExpressions.RegexOptions.None, 1000)]
    private static partial System.Text.RegularExpressions.Regex StateName();

    [Fact]
    public async Task A_guest_that_never_responds_fails_at_its_deadline_with_console_output_and_without_a_charge()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        await rows.ReportAsync(vm, Power.On, Phase.Booting, Cancel, r => r.ConsoleTail = "Kernel panic - not syncing");
        await rows.SettleAsync(Cancel);
        rows.Time.Advance(rows.Settings.CreateDeadline - TimeSpan.FromSeconds(1));
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running");
        rows.Time.Advance(TimeSpan.FromSeconds(2));
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("undoing");
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.State, row.ConsoleTail, row.Address).ShouldBe(("failed", "Kernel panic - not syncing", null));
        row.Problem.ShouldContain("SSH did not respond in time");
        (await rows.CountAsync("usage_spans", "true", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task Canceling_a_create_rolls_it_back()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        (await rows.CancelAsync(vm, Cancel)).OrThrow();
        await rows.SettleAsync(Cancel);
        // An operator's retry does not turn it into a failure, and nobody can cancel twice.
        var operation = await rows.NewestOperationAsync(vm, Cancel);
        await rows.Db.ExecuteAsync(
            OperationSql.Ask, new { id = operation.Id, asked = (string?)null, now = rows.Now }, Cancel);
        (await rows.Db.ExecuteAsync(
            OperationSql.Ask, new { id = operation.Id, asked = "cancel", now = rows.Now }, Cancel)).ShouldBe(0);
        (await rows.CancelAsync(vm, Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("cancelled");
        (await rows.CancelAsync(vm, Cancel)).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
    }

    [Fact]
    public async Task Another_accounts_vm_is_not_found()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        const string stranger = "eve@example.org";
        (await rows.ChangeAsync(VmActions.Stop, vm, Cancel, stranger)).Problem.ShouldBe(VmAction.NotFound);
        (await rows.ChangeAsync(VmActions.Delete, vm, Cancel, stranger)).Problem.ShouldBe(VmAction.NotFound);
        (await rows.CancelAsync(vm, Cancel, stranger)).Problem.ShouldBe(VmAction.NotFound);
    }

    [Fact]
    public async Task A_silent_host_makes_its_vms_unknown_and_unknown_time_is_free()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var health = new HostHealth(rows.Db, rows.Fence, rows.Time);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.Db.ExecuteAsync("UPDATE hosts SET last_seen = @now", new { now = rows.Now }, Cancel);
        (await health.LookAsync(rows.Epoch, Cancel)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromHours(5));
        (await health.LookAsync(rows.Epoch, Cancel)).ShouldBe(1);
        (await health.LookAsync(rows.Epoch, Cancel)).ShouldBe(0);
        (await rows.FindAsync(vm, Cancel)).Observed.ShouldBe("unknown");
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        var hours = await rows.Db.FindAsync<decimal>(
            "SELECT sum(extract(epoch FROM coalesce(upper(span), @now) - lower(span)))/3600 FROM usage_spans",
            new { now = rows.Now }, Cancel);
        hours.ShouldBe(2m);
    }

    [Fact]
    public async Task A_guest_that_shuts_itself_down_stays_stopped_and_the_history_says_so()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel, r => r.StoppedItself = true);
        var row = await rows.FindAsync(vm, Cancel);
        (row.State, row.Wanted).ShouldBe(("stopped", "off"));
        var newest = await rows.NewestOperationAsync(vm, Cancel);
        (newest.Kind, newest.Status).ShouldBe(("guest_shutdown", "done"));
    }

    [Theory]
    [InlineData(Phase.None)]
    [InlineData(Phase.Disk)]
    [InlineData(Phase.Defined)]
    public async Task A_vm_that_is_off_for_any_other_reason_stays_wanted_on(Phase phase)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.ReportAsync(vm, Power.Off, phase, Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.State, row.Wanted).ShouldBe(("running", "on"));
    }

    [Fact]
    public async Task A_report_that_answers_another_epoch_changes_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.TakeSeatAsync(Cancel);
        (await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel,
            r => (r.Epoch, r.StoppedItself) = (rows.Epoch - 1, true))).ShouldBe(false);
        (await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel, r => r.Epoch = rows.Epoch + 1)).ShouldBe(false);
        (await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel, r => r.Generation++))
            .ShouldBe(false, "that generation was never sent");
        (await rows.FindAsync(vm, Cancel)).Observed.ShouldBe("on");
    }

    [Fact]
    public async Task A_deleted_vm_that_still_exists_is_removed_again_and_raises_an_alert()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.ChangeAsync(VmActions.Delete, vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        var before = await rows.FindAsync(vm, Cancel);
        await rows.ReportAsync(vm, Power.On, Phase.None, Cancel, r => (r.Epoch, r.Generation) = (0, 0));
        var after = await rows.FindAsync(vm, Cancel);
        (after.State, after.Wanted, after.Observed).ShouldBe(("deleted", "gone", "unknown"));
        after.WantedGeneration.ShouldBeGreaterThan(before.WantedGeneration);
        (await rows.CountAsync("alerts", $"kind = 'deleted_vm_present' AND subject = '{vm}'", Cancel)).ShouldBe(1);
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        (await rows.FindAsync(vm, Cancel)).Observed.ShouldBe("gone");
    }

    [Fact]
    public async Task A_vm_whose_disk_is_lost_costs_nothing_until_it_is_found_again()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel,
            r => (r.DiskLost, r.Problem, r.ProblemFinal) = (true, "The disk is lost.", true));
        (await rows.CountAsync("usage_spans", "upper_inf(span)", Cancel)).ShouldBe(0);
        (await rows.CountAsync("alerts", $"kind = 'disk_lost' AND subject = '{vm}'", Cancel)).ShouldBe(1);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        (await rows.CountAsync("usage_spans", "upper_inf(span)", Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task A_vm_that_its_host_has_paused_costs_nothing_until_it_goes_on()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => (r.Paused, r.Problem) = (true, "It is full."));
        var row = await rows.FindAsync(vm, Cancel);
        (row.Observed, row.Paused, row.State, VmState.Of(row).Word).ShouldBe(("on", true, "running", "paused"));
        (await rows.CountAsync("usage_spans", "upper_inf(span)", Cancel)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        (await rows.FindAsync(vm, Cancel)).Paused.ShouldBeFalse();
        (await rows.CountAsync("usage_spans", "upper_inf(span)", Cancel)).ShouldBe(1);
        (await rows.CountAsync("usage_spans", "TRUE", Cancel)).ShouldBe(2);
    }

    [Fact]
    public async Task A_vm_that_is_paused_before_it_was_ever_charged_is_not_charged()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => r.Paused = true);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("creating");
        (await rows.CountAsync("usage_spans", "TRUE", Cancel)).ShouldBe(0);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
    }

    [Fact]
    public async Task A_phase_that_is_reached_again_is_reported_once()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        for (var again = 0; again < 3; again++)
        {
            await rows.ReportAsync(vm, Power.Off, Phase.Disk, Cancel);
            await rows.ReportAsync(vm, Power.Off, Phase.Defined, Cancel);
        }
        (await rows.CountAsync("operation_events", "step = 'phase'", Cancel)).ShouldBe(2);
    }

    [Fact]
    public async Task An_older_report_changes_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => r.Generation--)).ShouldBe(false);
        (await rows.FindAsync(vm, Cancel)).Observed.ShouldBe("off");
    }

    [Fact]
    public async Task A_report_by_another_host_is_ignored()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var report = Intake.Check(new VmReport { Id = vm, Power = Power.Gone, Epoch = rows.Epoch, Generation = 1 });
        (await rows.TakeInAsync(report, Cancel, "evil")).ShouldBeNull();
        (await rows.FindAsync(vm, Cancel)).Observed.ShouldBe("on");
    }

    /// <summary>Each with its own account, so that the lock of one account does not serialize the others.</summary>
    [Fact]
    public async Task Concurrent_creates_never_share_an_address_and_never_exceed_memory_or_disk()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            INSERT INTO addresses (host, address, mac)
            SELECT 'rack1', '10.77.1.0'::inet + n, ('52:54:00:01:00:' || lpad(to_hex(n), 2, '0'))::macaddr
            FROM generate_series(1, 60) n;
            INSERT INTO accounts (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, 24) n;
            INSERT INTO payments (email, dollars, method) SELECT 'user' || n || '@example.org', 100, 'cash'
            FROM generate_series(1, 24) n;
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            SELECT 'user' || n || '@example.org', 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', now()
            FROM generate_series(1, 24) n;
            """, null, Cancel);
        var outcomes = await Task.WhenAll(
            Enumerable.Range(1, 24).Select(n => rows.TryNewVmAsync(Cancel, "f1-xs", email: $"user{n}@example.org")));
        outcomes.Count(o => o.Problem is null).ShouldBe(8, "4096 MiB hold eight of 512 MiB");
        outcomes.Where(o => o.Problem is not null).ShouldAllBe(o => o.Problem!.Kind == ProblemKind.NoCapacity);
        (await rows.CountAsync("addresses", "vm IS NOT NULL", Cancel)).ShouldBe(8);
    }

    [Theory]
    [InlineData("disk_mb = 40 * 1024", 3)]
    [InlineData("max_vms = 2", 2)]
    public async Task Disk_and_relay_ports_are_counted_when_a_vm_is_placed(string host, int fit)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            $"UPDATE hosts SET {host}; INSERT INTO addresses (host, address, mac) "
                + "VALUES ('rack1', '10.77.0.4', '52:54:0a:4d:00:04'), ('rack1', '10.77.0.5', '52:54:0a:4d:00:05')",
            null, Cancel);
        for (var n = 0; n < fit; n++) (await rows.TryNewVmAsync(Cancel)).OrThrow();
        (await rows.TryNewVmAsync(Cancel)).Problem!.Kind.ShouldBe(ProblemKind.NoCapacity);
    }

    [Fact]
    public async Task The_database_itself_refuses_overlapping_usage_and_backward_generations()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var overlap = await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "INSERT INTO usage_spans (vm, email, span, dollars_per_month) "
                + "VALUES (@vm, @email, tstzrange(@now, @now + interval '1 hour'), 5)",
            new { vm, email = VmRows.Email, now = rows.Now }, Cancel));
        overlap.ConstraintName.ShouldBe("usage_spans_no_overlap");
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "UPDATE hosts SET generation = generation - 1", null, Cancel))).MessageText.ShouldContain("only grows");
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "UPDATE seat SET epoch = epoch", null, Cancel))).MessageText.ShouldContain("only grows");
        var twice = await Should.ThrowAsync<PostgresException>(
            () => rows.Db.ExecuteAsync("UPDATE addresses SET vm = @vm", new { vm }, Cancel));
        twice.ConstraintName.ShouldBe("addresses_one_on_a_host");
    }
}
