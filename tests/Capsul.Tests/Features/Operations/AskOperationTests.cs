using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Operations;
using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Operations;

/// <summary>Retry, cancel and force: by the owner, by an operator.</summary>
public sealed class AskOperationTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static readonly OperationRow Running = new(
        7, "create_vm", "capsul-0000000001", VmRows.Email, "start", "running", Now, 0, Now, Now, null, null, "");

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public void An_owner_may_retry_and_cancel_and_an_operator_may_also_force()
    {
        Allowed(Running, VmRows.Email).ShouldBe(["retry", "cancel"]);
        Allowed(Running, null).ShouldBe(["retry", "cancel", "force"]);
        Allowed(Running, "eve@example.org").ShouldBeEmpty();
        Allowed(Running with { Asked = "cancel" }, null).ShouldBe(["retry", "force"]);
        Allowed(Running with { Status = "undoing" }, null).ShouldBe(["retry", "force"]);
        Allowed(Running with { Asked = "force" }, null).ShouldBeEmpty();
        Allowed(Running with { Status = "done", Finished = Now }, null).ShouldBeEmpty();
        AskOperation.Decide(OperationRequest.Cancel, Running, cancellable: false, null)!.Message
            .ShouldContain("cannot be canceled");
    }

    [Fact]
    public async Task To_force_takes_a_reason_which_is_kept_in_the_audit_line_and_the_events()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.ChangeAsync(VmActions.Delete, vm, Cancel)).OrThrow();
        var id = (await rows.NewestOperationAsync(vm, Cancel)).Id;
        (await AskAsync(rows, OperationRequest.Cancel, id, null)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await AskAsync(rows, OperationRequest.Force, id, null)).Problem!.Field.ShouldBe("Reason");
        (await AskAsync(rows, OperationRequest.Force, id, "rack1 burned\ndown")).OrThrow();
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("failed");
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("deleted");
        (await rows.Db.ListAsync<string>(
            "SELECT detail FROM audit_lines WHERE action = 'operation_force'", null, Cancel))
            .ShouldBe(["rack1 burned down"]);
        (await rows.Db.ListAsync<OperationEventRow>(OperationSql.Events, new { id }, Cancel))
            .ShouldContain(e => e.Message == "Force requested by an operator: rack1 burned down");
    }

    static IEnumerable<string> Allowed(OperationRow operation, string? owner) => OperationRequest.All
        .Where(r => AskOperation.Decide(r, operation, cancellable: true, owner) is null).Select(r => r.Name);

    static Task<Outcome<long>> AskAsync(VmRows rows, OperationRequest request, long id, string? reason) =>
        AskOperation.RunAsync(request, rows.Db, VmRows.AllKinds(), "ops", null, id, reason, rows.Time, Cancel);
}
