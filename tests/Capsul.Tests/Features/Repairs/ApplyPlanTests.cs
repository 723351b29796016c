using Capsul.Foundation;
using Capsul.Hub.Features.Repairs;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Repairs;

/// <summary>capsul fsck: a plan is carried out only while the findings are the same, and nothing is released at once.
/// </summary>
public sealed class ApplyPlanTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_database_that_agrees_with_itself_has_no_findings()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.NewVmAsync(Cancel);
        (await PlanAsync(rows)).Lines.ShouldBeEmpty();
    }

    [Theory]
    [InlineData("operation_missing", """
        DELETE FROM operation_events; DELETE FROM operations; UPDATE vms SET state = 'stopping', wanted = 'off'
        """)]
    [InlineData("usage_of_deleted", """
        UPDATE vms SET state = 'deleted', wanted = 'gone', observed = 'gone', deleted = @now;
        UPDATE addresses SET vm = NULL
        """)]
    [InlineData("usage_of_unknown", "UPDATE vms SET observed = 'unknown'")]
    [InlineData("usage_missing", "DELETE FROM usage_spans")]
    [InlineData("generation_behind", "UPDATE vms SET wanted_generation = 1000")]
    public async Task What_the_hub_can_do_itself_is_repaired_by_the_first_plan(string kind, string breaks)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromMinutes(1));
        await rows.Db.ExecuteAsync(breaks, new { now = rows.Now }, Cancel);
        var plan = await PlanAsync(rows);
        plan.Lines.ShouldHaveSingleItem().ShouldSatisfyAllConditions(
            l => l.Finding.Kind.ShouldBe(kind), l => l.Action.ShouldBe(RepairAction.Repair));
        (await PlanAsync(rows, "rack2")).Lines.ShouldBeEmpty("it concerns another host");
        (await ApplyAsync(rows, plan.Id)).OrThrow();
        (await PlanAsync(rows)).Lines.ShouldBeEmpty();
        (await rows.CountAsync("audit_lines", "actor = 'ops' AND action = 'fsck_repair'", Cancel)).ShouldBe(1);
        (await rows.FindAsync(vm, Cancel)).Id.ShouldBe(vm);
    }

    [Fact]
    public async Task A_plan_whose_findings_have_changed_is_refused_and_does_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            DELETE FROM usage_spans WHERE vm = (SELECT min(id) FROM vms)
            """, null, Cancel);
        var plan = await PlanAsync(rows);
        await rows.Db.ExecuteAsync("DELETE FROM usage_spans", null, Cancel);
        (await ApplyAsync(rows, plan.Id)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await rows.CountAsync("usage_spans", "TRUE", Cancel)).ShouldBe(0);
        var both = await PlanAsync(rows);
        both.Id.ShouldNotBe(plan.Id);
        (await ApplyAsync(rows, both.Id)).OrThrow();
        (await rows.CountAsync("usage_spans", "TRUE", Cancel)).ShouldBe(2);
        (await ApplyAsync(rows, both.Id)).Problem!.Kind.ShouldBe(ProblemKind.Conflict, "it was carried out");
    }

    [Fact]
    public async Task An_address_that_another_may_get_is_freed_only_by_a_plan_after_the_one_that_found_it()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            UPDATE vms SET state = 'deleted', wanted = 'gone', observed = 'unknown', deleted = @now;
            UPDATE hosts SET online = FALSE; DELETE FROM usage_spans
            """, new { now = rows.Now }, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        var first = await PlanAsync(rows);
        first.Lines.ShouldHaveSingleItem().Action.ShouldBe(RepairAction.Quarantine);
        (await ApplyAsync(rows, first.Id)).OrThrow();
        (await rows.CountAsync("addresses", "vm IS NOT NULL", Cancel)).ShouldBe(1);
        (await ApplyAsync(rows, first.Id)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        var second = await PlanAsync(rows);
        second.Lines.ShouldHaveSingleItem().Action.ShouldBe(RepairAction.Repair);
        (await ApplyAsync(rows, second.Id)).OrThrow();
        (await rows.CountAsync("addresses", "vm IS NOT NULL", Cancel)).ShouldBe(0);
        (await rows.CountAsync("quarantine", "TRUE", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task An_unknown_machine_is_marked_and_then_left_to_a_person()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            INSERT INTO hosts (id, state, online) VALUES ('rack2', 'joined', TRUE);
            INSERT INTO unknown_vms VALUES ('rack2', @vm, 'on', @now, @now)
            """, new { vm, now = rows.Now }, Cancel);
        var first = await PlanAsync(rows, "rack2");
        first.Lines.ShouldHaveSingleItem().Says.ShouldContain("the database has it on rack1");
        (await ApplyAsync(rows, first.Id, "rack2")).OrThrow();
        var second = await PlanAsync(rows, "rack2");
        second.Lines.ShouldHaveSingleItem().Action.ShouldBe(RepairAction.None);
        (await ApplyAsync(rows, second.Id, "rack2")).Problem!.Message.ShouldContain("needs a person");
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
    }

    static Task<RepairPlan> PlanAsync(VmRows rows, string? host = null) => rows.Db.InTransactionAsync(
        transaction => RepairPlan.MakeAsync(transaction, host, rows.Now, Cancel), Cancel);

    static Task<Outcome<RepairPlan>> ApplyAsync(VmRows rows, string id, string? host = null) =>
        ApplyPlan.RunAsync(rows.Db, "ops", host, id, rows.Settings, rows.Time, Cancel);
}
