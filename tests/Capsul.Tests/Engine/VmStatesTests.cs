using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Tests.Engine;

/// <summary>The life of a VM as the database sees it: no state without an exit, nothing charged that nobody had, no address twice.</summary>
public sealed class VmStatesTests
{
    static readonly CancellationToken Cancel = TestContext.Current.CancellationToken;

    [Fact]
    public async Task Every_state_leads_to_running_or_gone()
    {
        // From each state that the table allows, by what its owner, the Spoke or the clock can do.
        var exits = new Dictionary<string, string[]>(StringComparer.Ordinal)
        {
            ["creating"] = ["running", "failed"],
            ["running"] = ["stopping", "restarting", "deleting", "stopped"],
            ["stopped"] = ["starting", "deleting"],
            ["starting"] = ["running", "stopped"],
            ["stopping"] = ["stopped", "running"],
            ["restarting"] = ["running"],
            ["deleting"] = ["deleted", "failed"],
            ["deleted"] = [],
            ["failed"] = [],
        };
        await using var rows = await VmRows.CreateAsync(Cancel);
        var allowed = await rows.Db.FindAsync<string>("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'vms_state_check'", null, Cancel);
        var states = System.Text.RegularExpressions.Regex.Matches(allowed!, "'([a-z]+)'", System.Text.RegularExpressions.RegexOptions.None, TimeSpan.FromSeconds(1)).Select(m => m.Groups[1].Value).ToHashSet(StringComparer.Ordinal);
        states.ShouldBe(exits.Keys, ignoreOrder: true);
        foreach (var state in states)
        {
            var (seen, todo) = (new HashSet<string>(StringComparer.Ordinal) { state }, new Stack<string>([state]));
            while (todo.TryPop(out var at))
            {
                foreach (var next in exits[at].Where(seen.Add)) todo.Push(next);
            }
            (state is "deleted" or "failed" || (seen.Contains("deleted") && seen.Any(s => s is "running" or "failed"))).ShouldBeTrue(state);
        }
    }

    [Fact]
    public async Task A_guest_that_never_answers_ends_failed_at_its_deadline_with_the_console_and_without_a_charge()
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
        row.Problem.ShouldContain("SSH did not answer in time");
        (await rows.CountAsync("usage_spans", "true", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task Cancelling_a_create_undoes_it()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        (await rows.CancelAsync(vm, Cancel)).OrThrow();
        await rows.SettleAsync(Cancel);
        // An operator who hurries it along does not make a failure of it, and nobody can ask twice.
        var operation = await rows.NewestOperationAsync(vm, Cancel);
        await rows.Db.ExecuteAsync(OperationSql.Ask, new { id = operation.Id, asked = (string?)null, now = rows.Now }, Cancel);
        (await rows.Db.ExecuteAsync(OperationSql.Ask, new { id = operation.Id, asked = "cancel", now = rows.Now }, Cancel)).ShouldBe(0);
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
        var health = new HostHealth(rows.Db, rows.Time);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.Db.ExecuteAsync("UPDATE hosts SET last_seen = @now", new { now = rows.Now }, Cancel);
        (await health.LookAsync(rows.Epoch, Cancel)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromHours(5));
        (await health.LookAsync(rows.Epoch, Cancel)).ShouldBe(1);
        (await health.LookAsync(rows.Epoch, Cancel)).ShouldBe(0);
        (await rows.FindAsync(vm, Cancel)).Observed.ShouldBe("unknown");
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        var hours = await rows.Db.FindAsync<decimal>("SELECT sum(extract(epoch FROM coalesce(upper(span), @now) - lower(span)))/3600 FROM usage_spans", new { now = rows.Now }, Cancel);
        hours.ShouldBe(2m);
    }

    [Fact]
    public async Task A_guest_that_shuts_itself_down_is_stopped_not_restarted()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.State, row.Wanted).ShouldBe(("stopped", "off"));
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
    public async Task A_report_of_another_host_is_nobodys()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var report = new VmReport { Id = vm, Power = Power.Gone, Generation = 1000 };
        (await rows.Db.InTransactionAsync(t => ObserveVm.RunAsync(t, "evil", report, rows.Now, Cancel), Cancel)).ShouldBeNull();
        (await rows.FindAsync(vm, Cancel)).Observed.ShouldBe("on");
    }

    [Fact]
    public async Task Many_at_once_never_share_an_address_and_never_exceed_the_memory()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            "INSERT INTO addresses (host, address, mac) SELECT 'rack1', '10.77.1.0'::inet + n, ('52:54:00:01:00:' || lpad(to_hex(n), 2, '0'))::macaddr FROM generate_series(1, 60) n",
            null, Cancel);
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 24).Select(_ => rows.TryNewVmAsync(Cancel, "f1-xs")));
        outcomes.Count(o => o.Problem is null).ShouldBe(8, "4096 MB hold eight of 512 MB");
        outcomes.Where(o => o.Problem is not null).ShouldAllBe(o => o.Problem!.Kind == ProblemKind.NoCapacity);
        (await rows.CountAsync("addresses", "vm IS NOT NULL", Cancel)).ShouldBe(8);
    }

    [Fact]
    public async Task The_database_itself_refuses_overlapping_usage_and_backward_generations()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var overlap = await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "INSERT INTO usage_spans (vm, email, span, dollars_per_month) VALUES (@vm, @email, tstzrange(@now, @now + interval '1 hour'), 5)",
            new { vm, email = VmRows.Email, now = rows.Now }, Cancel));
        overlap.ConstraintName.ShouldBe("usage_spans_no_overlap");
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync("UPDATE hosts SET generation = generation - 1", null, Cancel))).MessageText.ShouldContain("only grows");
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync("UPDATE seat SET epoch = epoch", null, Cancel))).MessageText.ShouldContain("only grows");
        var twice = await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync("UPDATE addresses SET vm = @vm", new { vm }, Cancel));
        twice.ConstraintName.ShouldBe("addresses_one_for_a_vm");
    }
}
