using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Features.Hosts;

/// <summary>Draining a host, and removing it with and without VMs.</summary>
public sealed class RemoveHostTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly HostStateRow Offline = new("rack1", "joined", true, false, null, "");

    [Fact]
    public void A_host_with_capsuls_is_refused_in_words_that_say_how_many_and_what_to_do()
    {
        RemoveHost.Decide(Offline, "rack1", 0, force: false).ShouldBeNull();
        var refused = RemoveHost.Decide(Offline, "rack1", 3, force: false)!;
        refused.Kind.ShouldBe(ProblemKind.Conflict);
        refused.Message.ShouldContain("3 capsuls");
        refused.Message.ShouldContain("--force");
        RemoveHost.Decide(Offline, "rack1", 3, force: true).ShouldBeNull();
        RemoveHost.Decide(Offline with { Online = true }, "rack1", 3, force: true)!.Message.ShouldContain("is online");
        RemoveHost.Decide(null, "rack1", 0, force: false)!.Kind.ShouldBe(ProblemKind.NotFound);
    }

    [Fact]
    public async Task No_capsul_is_placed_on_a_drained_host_until_it_is_undrained()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await DrainHost.RunAsync(rows.Db, "ops", VmRows.Host, " ", Cancel)).Problem!.Field.ShouldBe("Reason");
        (await DrainHost.RunAsync(rows.Db, "ops", VmRows.Host, "new  disks", Cancel)).OrThrow();
        (await rows.TryNewVmAsync(Cancel)).Problem!.Kind.ShouldBe(ProblemKind.NoCapacity);
        (await UndrainHost.RunAsync(rows.Db, "ops", VmRows.Host, Cancel)).OrThrow();
        (await rows.TryNewVmAsync(Cancel)).Problem.ShouldBeNull();
        (await UndrainHost.RunAsync(rows.Db, "ops", VmRows.Host, Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await rows.Db.ListAsync<string>("""
            SELECT concat_ws(' ', actor, action, subject, detail) FROM audit_lines WHERE subject = 'rack1' ORDER BY id
            """, null, Cancel)).ShouldBe(["ops drain_host rack1 new disks", "ops undrain_host rack1 new disks"]);
    }

    [Fact]
    public async Task A_lost_host_takes_its_capsuls_along_and_they_are_charged_until_it_was_last_seen()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var running = await rows.RunningVmAsync(Cancel);
        var creating = await rows.NewVmAsync(Cancel);
        var lastSeen = rows.Now.AddMinutes(1);
        await rows.Db.ExecuteAsync(
            "UPDATE hosts SET online = FALSE, last_seen = @lastSeen", new { lastSeen }, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await RemoveAsync(rows, force: false, null)).Problem!.Message.ShouldContain("2 capsuls");
        (await RemoveAsync(rows, force: true, null)).Problem!.Field.ShouldBe("Reason");
        (await RemoveAsync(rows, force: true, "it burned down")).OrThrow().ShouldBe(2);

        foreach (var id in (string[])[running, creating])
        {
            var vm = await rows.FindAsync(id, Cancel);
            (vm.State, vm.Wanted, vm.Address).ShouldBe(("failed", "gone", null));
            vm.Deleted.ShouldNotBeNull();
            vm.Problem.ShouldContain("Host rack1 is lost");
            (await rows.NewestOperationAsync(id, Cancel)).Status.ShouldBe("failed");
        }
        (await rows.Db.FindAsync<DateTime>("SELECT upper(span) FROM usage_spans", null, Cancel)).ShouldBe(lastSeen);
        (await rows.CountAsync("operations", "finished IS NULL", Cancel)).ShouldBe(0);
        (await rows.CountAsync("addresses", "TRUE", Cancel)).ShouldBe(0);
        (await rows.CountAsync("host_images", "TRUE", Cancel)).ShouldBe(0);
        (await rows.CountAsync("hosts", "vms = 0 AND memory_used_mb = 0", Cancel)).ShouldBe(1);
        (await rows.CountAsync("audit_lines", "action = 'remove_host' AND detail = '2 capsuls lost: it burned down'",
            Cancel)).ShouldBe(1);
        (await rows.Db.ListAsync<ShownHostRow>(HostPageSql.List, new { after = "", search = "", limit = 9 }, Cancel))
            .ShouldBeEmpty();
    }

    [Fact]
    public async Task Its_name_may_be_invited_again_and_what_is_still_on_the_machine_is_removed()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var lost = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE hosts SET online = FALSE", null, Cancel);
        (await RemoveAsync(rows, force: true, "gone")).OrThrow();
        (await InviteHost.RunAsync(
            rows.Db, "ops", VmRows.Host, "127.0.0.1:1", new string('a', 64), rows.Time, Cancel)).OrThrow();
        (await rows.Db.FindAsync<string>(HostSql.StateOf, new { id = VmRows.Host }, Cancel)).ShouldBe("invited");
        var wanted = await rows.Db.ListAsync<WantedRow>(
            HostSql.Wanted, new { host = VmRows.Host, since = -1L }, Cancel);
        wanted.Select(w => (w.Id, w.Wanted)).ShouldBe([(lost, "gone")]);
        await rows.ReportAsync(lost, Power.Gone, Phase.None, Cancel);
        (await rows.Db.ListAsync<WantedRow>(HostSql.Wanted, new { host = VmRows.Host, since = -1L }, Cancel))
            .ShouldBeEmpty();
    }

    [Fact]
    public async Task A_host_that_never_had_a_capsul_leaves_nothing_behind()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await RemoveAsync(rows, force: false, null)).OrThrow().ShouldBe(0);
        (await rows.CountAsync("hosts", "TRUE", Cancel)).ShouldBe(0);
        (await RemoveAsync(rows, force: false, null)).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
    }

    [Fact]
    public async Task A_name_that_is_or_was_in_use_is_refused()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("INSERT INTO hosts (id, state) VALUES ('rack2', 'joined'), ('rack3', 'removed')",
            null, Cancel);
        foreach (var name in (string?[])["rack2", "rack3", "Rack 4", null])
        {
            (await RenameHost.RunAsync(rows.Db, "ops", VmRows.Host, name, Cancel)).Problem!.Field.ShouldBe("NewName");
        }
        (await RenameHost.RunAsync(rows.Db, "ops", "rack3", "rack4", Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
        (await RenameHost.RunAsync(rows.Db, "ops", VmRows.Host, "rack4", Cancel)).OrThrow().ShouldBe("rack4");
        (await rows.CountAsync("vms", "host = 'rack4'", Cancel)).ShouldBe(1);
        (await rows.CountAsync("addresses", "host = 'rack4'", Cancel)).ShouldBe(2);
        (await rows.CountAsync("hosts", "id = 'rack4' AND vms = 1 AND memory_used_mb = 512", Cancel)).ShouldBe(1);
    }

    static Task<Outcome<int>> RemoveAsync(VmRows rows, bool force, string? reason) =>
        RemoveHost.RunAsync(rows.Db, "ops", VmRows.Host, force, reason, rows.Time, Cancel);
}
