using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A host is lost to which VMs were moved that have never been seen running there, because an operator ended the move:
/// they return to the hosts that have kept their disks.
/// </summary>
public static class ReturnVms
{
    /// <summary>The VMs are locked. Returns those that are on another host now.</summary>
    public static async Task<IReadOnlyList<string>> RunAsync(
        NpgsqlTransaction transaction, string host, string actor, CancellationToken cancel)
    {
        var kept = await transaction.ListAsync<ReturningRow>(MoveSql.KeptElsewhere, new { host }, cancel);
        await transaction.ListAsync<string>(
            MoveSql.LockHosts, new { hosts = kept.Select(k => k.CopyHost).ToArray() }, cancel);
        foreach (var copy in kept)
        {
            var generation = await transaction.FindAsync<long>(
                HostSql.NextGeneration, new { host = copy.CopyHost }, cancel);
            await transaction.ExecuteAsync(MoveSql.EndReturned, new { id = copy.Id }, cancel);
            await transaction.ExecuteAsync(MoveSql.PutOnHost, new
            {
                id = copy.Vm,
                host = copy.CopyHost,
                state = copy.Was,
                wanted = VmActions.WantedIn(copy.Was),
                generation,
            }, cancel);
            await transaction.AuditAsync(actor, "return_vm", copy.Vm, $"{host} to {copy.CopyHost}", cancel);
        }
        return [.. kept.Select(k => k.Vm)];
    }
}
