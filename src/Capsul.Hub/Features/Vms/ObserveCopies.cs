using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Processes what a host reports of VMs that are on another host: a disk that arrives, or what a move left behind.
/// Nothing here changes the VM; the move's operation is woken. A copy that is gone, as wanted, frees its address. A
/// report changes nothing if it is older than one already processed, or answers what was never sent.
/// </summary>
public static class ObserveCopies
{
    sealed record Change(CopyRow Copy, VmObservation Report)
    {
        public bool IsAnswer => Report.Generation == Copy.CopyGeneration;

        public string Observed => Report.Power switch
        {
            Power.On => "on",
            Power.Off => "off",
            Power.Gone => "gone",
            _ => "unknown",
        };

        public bool IsOver => IsAnswer && Copy.CopyWanted == "gone" && Report.Power == Power.Gone;

        /// <summary>How far this move's disk is; what is said of any other one does not count.</summary>
        public TransferProgress Transfer => Report.Transfer is { } progress && progress.Id == Copy.Transfer
            ? progress : new TransferProgress(Copy.Transfer, Copy.BytesDone, Copy.BytesTotal, Copy.Sha256);

        public string Problem => IsAnswer ? Report.Problem : "";

        public bool ProblemFinal => IsAnswer && Report.ProblemFinal;
    }

    static bool Accepts(CopyRow copy, VmObservation report, long epoch) => report.Epoch == epoch
        && report.Generation >= copy.CopyObservedGeneration && report.Generation <= copy.CopyGeneration;

    /// <summary>Whether a report may change anything. Decided on a row that is not locked.</summary>
    public static bool IsNews(CopyRow copy, VmObservation report, long epoch)
    {
        if (!Accepts(copy, report, epoch)) return false;
        var change = new Change(copy, report);
        return change.IsOver || (change.Observed, report.Generation, change.Transfer.BytesDone,
                change.Transfer.BytesTotal, change.Transfer.Sha256, change.Problem, change.ProblemFinal)
            != (copy.CopyObserved, copy.CopyObservedGeneration, copy.BytesDone, copy.BytesTotal, copy.Sha256,
                copy.Problem, copy.ProblemFinal);
    }

    public static async Task RunAsync(NpgsqlTransaction transaction, string host,
        IReadOnlyCollection<VmObservation> reports, long epoch, DateTime now, CancellationToken cancel)
    {
        var ids = reports.Select(r => r.Id).ToArray();
        // In lock order: operations, VMs, hosts (by the trigger), addresses.
        await transaction.ListAsync<WokenRow>(OperationSql.WakeOf, new { ids, now }, cancel);
        await transaction.ListAsync<string>(MoveSql.LockVms, new { ids }, cancel);
        var copies = (await transaction.ListAsync<CopyRow>(MoveSql.FindCopies, new { ids, host }, cancel))
            .ToDictionary(c => c.Vm, StringComparer.Ordinal);
        var changes = reports.Where(r => copies.TryGetValue(r.Id, out var copy) && Accepts(copy, r, epoch))
            .Select(r => new Change(copies[r.Id], r)).ToList();
        if (changes.Count == 0) return;
        await transaction.ExecuteAsync(MoveSql.Observe, new
        {
            ids = changes.Select(c => c.Copy.Id).ToArray(),
            observed = changes.Select(c => c.Observed).ToArray(),
            generations = changes.Select(c => c.Report.Generation).ToArray(),
            bytesDone = changes.Select(c => c.Transfer.BytesDone).ToArray(),
            bytesTotal = changes.Select(c => c.Transfer.BytesTotal).ToArray(),
            sums = changes.Select(c => c.Transfer.Sha256).ToArray(),
            problems = changes.Select(c => c.Problem).ToArray(),
            finals = changes.Select(c => c.ProblemFinal).ToArray(),
            over = changes.Select(c => c.IsOver).ToArray(),
        }, cancel);
        var over = changes.Where(c => c.IsOver).Select(c => c.Copy.Vm).ToArray();
        if (over.Length > 0)
            await transaction.ExecuteAsync(AddressSql.FreeCopies, new { ids = over, host, now }, cancel);
    }
}
