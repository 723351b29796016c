using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>Gives the free build slots of a host to the VMs that wait for them, in turns between accounts.</summary>
public static class AdmitBuilds
{
    /// <summary>
    /// Returns how many VMs are built now. Chosen before anything is locked, and checked again with the host locked: a
    /// create may have taken a slot meanwhile.
    /// </summary>
    public static async Task<int> RunAsync(NpgsqlTransaction transaction, string host, Settings settings,
        TimeProvider time, CancellationToken cancel)
    {
        var buildSlots = settings.BuildSlots;
        var ids = (await transaction.ListAsync<string>(BuildQueueSql.Next, new { host, buildSlots }, cancel)).ToArray();
        var admitted = 0;
        if (ids.Length > 0)
        {
            await transaction.ListAsync<long>(OperationSql.LockOpenOfMany, new { vms = ids }, cancel);
            await transaction.ListAsync<string>(VmRepairSql.LockThese, new { ids }, cancel);
            var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host }, cancel);
            var vms = (await transaction.ListAsync<string>(
                BuildQueueSql.Admit, new { ids, host, generation, buildSlots }, cancel)).ToArray();
            await transaction.ExecuteAsync(OperationSql.Wake, new { vms, now = time.GetUtcNow().UtcDateTime }, cancel);
            admitted = vms.Length;
        }
        await transaction.FindAsync<long>(BuildQueueSql.TellWaiting, new { host }, cancel);
        return admitted;
    }
}
