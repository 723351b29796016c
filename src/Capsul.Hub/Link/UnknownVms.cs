using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Wire;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Link;

/// <summary>
/// Machines that a host reports and the database does not know: from another database, from before a restore, from a
/// host that was removed. They are left alone and remembered, for the alert and for <c>capsul fsck</c>. Spokes repeat
/// these reports with every heartbeat, so what was written lately is not written again.
/// </summary>
sealed partial class UnknownVms(string host, long epoch, Fence fence, TimeProvider time, ILogger log)
{
    static readonly TimeSpan WriteAgain = TimeSpan.FromMinutes(6);

    readonly Dictionary<string, (Power Power, DateTime At)> written = new(StringComparer.Ordinal);

    /// <param name="reports">Those on VMs that the database does not know on this host.</param>
    /// <param name="isInventory">They are all.</param>
    /// <param name="cancel">Gives up.</param>
    public async Task TakeInAsync(
        IReadOnlyList<VmObservation> reports, bool isInventory, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var gone = reports.Where(r => r.Power == Power.Gone).Select(r => r.Id).ToArray();
        var there = reports.Where(r => r.Power != Power.Gone).ToList();
        var news = there.Where(r => !written.TryGetValue(r.Id, out var last) || last.Power != r.Power
            || now - last.At > WriteAgain).ToList();
        if (news.Count + gone.Length == 0 && !isInventory) return;
        foreach (var report in news.Where(r => !written.ContainsKey(r.Id))) Log.UnknownVm(log, host, report.Id);
        await fence.InTransactionAsync(epoch, async transaction =>
        {
            await transaction.ExecuteAsync(isInventory ? UnknownVmSql.DropOthers : UnknownVmSql.Drop,
                new { host, vms = isInventory ? [.. there.Select(r => r.Id)] : gone }, cancel);
            await transaction.ExecuteAsync(UnknownVmSql.Put, new
            {
                host,
                vms = news.Select(r => r.Id).ToArray(),
                powers = news.Select(r => WordOf(r.Power)).ToArray(),
                now,
            }, cancel);
            return true;
        }, cancel);
        if (isInventory) written.Clear();
        foreach (var id in gone) written.Remove(id);
        foreach (var report in news) written[report.Id] = (report.Power, now);
    }

    static string WordOf(Power power) => power switch { Power.On => "on", Power.Off => "off", _ => "unknown" };

    static partial class Log
    {
        [LoggerMessage(300, LogLevel.Warning, "Host {Host} reports an unknown VM: {Vm}; leaving it alone")]
        public static partial void UnknownVm(ILogger log, string host, string vm);
    }
}
