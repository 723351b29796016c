using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Traffic;
using Capsul.Hub.Features.Vms;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>What has arrived from a Spoke and is processed next, in one transaction.</summary>
/// <param name="Hello">Changed facts; null: none.</param>
/// <param name="Reports">The newest of each VM.</param>
/// <param name="IsInventory">They are all VMs of the host.</param>
/// <param name="Confirms">The Spoke has stored its token.</param>
/// <param name="Foreign">All foreign machines of the host; null: no news.</param>
/// <param name="Used">What VMs have used; null: no news.</param>
sealed record ReportBatch(Hello? Hello, IReadOnlyList<VmObservation> Reports, bool IsInventory, bool Confirms,
    IReadOnlyList<ForeignMachineRow>? Foreign, IReadOnlyList<VmCounters>? Used);

/// <summary>
/// Reports that wait while the one before is processed. Only the newest of each VM is kept: reports are states, not
/// events, so this is bounded, and reading never has to stop, whatever the database does. Heartbeats do not wait here.
/// </summary>
sealed class PendingReports(TimeProvider time)
{
    readonly Lock gate = new();
    readonly Signal arrived = new();
    Dictionary<string, VmObservation> reports = new(StringComparer.Ordinal);
    Hello? hello;
    IReadOnlyList<ForeignMachineRow>? foreign;
    IReadOnlyList<VmCounters>? used;
    bool isInventory, confirms;
    RpcException? failure;

    public void Add(Hello changed)
    {
        lock (gate) hello = changed;
        arrived.Set();
    }

    /// <exception cref="RpcException">The Spoke names more VMs than a host may have.</exception>
    public void Add(VmObservation report)
    {
        lock (gate)
        {
            if (reports.Count >= Intake.MaxVms && !reports.ContainsKey(report.Id))
                throw new RpcException(
                    new Status(StatusCode.ResourceExhausted, $"A host may have {Intake.MaxVms} VMs."));
            reports[report.Id] = report;
        }
        arrived.Set();
    }

    /// <summary>Replaces everything that waits: it is older.</summary>
    public void Add(IReadOnlyList<VmObservation> inventory)
    {
        lock (gate)
        {
            reports = inventory.DistinctBy(r => r.Id).ToDictionary(r => r.Id, StringComparer.Ordinal);
            isInventory = true;
        }
        arrived.Set();
    }

    public void Add(IReadOnlyList<ForeignMachineRow> machines)
    {
        lock (gate) foreign = machines;
        arrived.Set();
    }

    public void Add(IReadOnlyList<VmCounters> counters)
    {
        lock (gate) used = counters;
        arrived.Set();
    }

    public void Confirm()
    {
        lock (gate) confirms = true;
        arrived.Set();
    }

    /// <summary>The next <see cref="TakeAsync"/> throws.</summary>
    public void Fail(RpcException error)
    {
        lock (gate) failure = error;
        arrived.Set();
    }

    /// <summary>Waits until there is something, and takes all of it.</summary>
    public async Task<ReportBatch> TakeAsync(CancellationToken cancel)
    {
        await arrived.WaitAsync(Timeout.InfiniteTimeSpan, time, cancel);
        return Take();
    }

    /// <summary>What there is now; null when there is nothing.</summary>
    public ReportBatch? TryTake() => arrived.Take() ? Take() : null;

    ReportBatch Take()
    {
        lock (gate)
        {
            if (failure is not null) throw failure;
            var batch = new ReportBatch(hello, [.. reports.Values], isInventory, confirms, foreign, used);
            (hello, reports, isInventory, confirms, foreign, used) =
                (null, new(StringComparer.Ordinal), false, false, null, null);
            return batch;
        }
    }
}
