using Capsul.Hub.Engine;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>A step of an operation on a VM: the operation and its VM, both locked.</summary>
public sealed record VmStep(OperationRow Operation, VmRow Vm, NpgsqlTransaction Transaction, DateTime Now);

/// <summary>Operations on a VM: they load and lock its row after the operation's.</summary>
public abstract class VmOperation : OperationKind
{
    public sealed override async Task<Next> RunAsync(StepContext context, CancellationToken cancel) =>
        await RunAsync(await LoadAsync(context, cancel), cancel);

    public sealed override async Task<Next> UndoAsync(StepContext context, CancellationToken cancel) =>
        await UndoAsync(await LoadAsync(context, cancel), cancel);

    public sealed override async Task<Next> OverdueAsync(StepContext context, CancellationToken cancel) =>
        await OverdueAsync(await LoadAsync(context, cancel), cancel) ?? await base.OverdueAsync(context, cancel);

    public sealed override async Task ForceAsync(StepContext context, CancellationToken cancel) =>
        await ForceAsync(await LoadAsync(context, cancel), cancel);

    protected abstract Task<Next> RunAsync(VmStep step, CancellationToken cancel);

    protected abstract Task<Next> UndoAsync(VmStep step, CancellationToken cancel);

    /// <summary>Null: fails as timed out.</summary>
    protected virtual Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel) => Task.FromResult<Next?>(null);

    protected abstract Task ForceAsync(VmStep step, CancellationToken cancel);

    static async Task<VmStep> LoadAsync(StepContext context, CancellationToken cancel)
    {
        var vm = await context.Transaction.FindAsync<VmRow>(VmSql.LockAny, new { id = context.Operation.Vm }, cancel)
            ?? throw new InvalidOperationException(
                $"Operation {context.Operation.Id} has no VM {context.Operation.Vm}.");
        return new VmStep(context.Operation, vm, context.Transaction, context.Now);
    }
}
