using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A host was silent for too long: it is offline, and its VMs are unknown from the time of its last report, so that
/// nobody pays for unobserved time.
/// </summary>
public static class ForgetHost
{
    /// <summary>
    /// Locks the VMs first, then their host, in lock order; only then is it certain that the host is still silent.
    /// Returns how many VMs became unknown.
    /// </summary>
    /// <param name="transaction">The caller's.</param>
    /// <param name="host">The host.</param>
    /// <param name="silent">A last report before this is too old.</param>
    /// <param name="cancel">Gives up.</param>
    public static async Task<int> RunAsync(
        NpgsqlTransaction transaction, string host, DateTime silent, CancellationToken cancel)
    {
        var ids = (await transaction.ListAsync<string>(ObserveVmSql.LockKnown, new { host }, cancel)).ToArray();
        if (await transaction.FindAsync<DateTime?>(HostSql.TakeOffline, new { id = host, silent }, cancel)
            is not { } lastSeen)
            return 0;
        if (ids.Length == 0) return 0;
        await transaction.ExecuteAsync(ObserveVmSql.Forget, new { ids }, cancel);
        await transaction.ExecuteAsync(VmSql.CloseUsage, new { ids, now = lastSeen }, cancel);
        return ids.Length;
    }
}
