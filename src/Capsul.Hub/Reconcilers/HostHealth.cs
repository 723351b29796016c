using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// Takes no input and may run as often as it likes: hosts that have been silent too long are offline, and what they hold is unknown
/// from the moment of their last word, so that nobody pays for time in which nobody knows.
/// </summary>
public sealed class HostHealth(Db db, TimeProvider time)
{
    static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One look; gives how many VMs became unknown.</summary>
    public Task<int> LookAsync(long epoch, CancellationToken cancel) => db.InTransactionAsync(async transaction =>
    {
        await transaction.HoldSeatAsync(epoch, cancel);
        var silent = time.GetUtcNow().UtcDateTime - TimeSpan.FromSeconds(Protocol.SilentSeconds);
        await transaction.ExecuteAsync(HostSql.SilentOffline, new { silent }, cancel);
        var vms = await transaction.ListAsync<SilentVmRow>(ObserveVmSql.ListSilent, new { silent }, cancel);
        foreach (var vm in vms)
        {
            await transaction.ExecuteAsync(ObserveVmSql.Forget, new { id = vm.Id }, cancel);
            await transaction.ExecuteAsync(VmSql.CloseUsage, new { id = vm.Id, now = vm.LastSeen!.Value }, cancel);
        }
        return vms.Count;
    }, cancel);
}
