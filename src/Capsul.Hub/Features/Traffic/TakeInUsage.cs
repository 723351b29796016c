using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Traffic;

/// <summary>What a VM has used, as its Spoke counts it. Each counter only grows, or begins again at 0.</summary>
public sealed record VmCounters(string Id, long CpuMs, long Received, long Sent, long Connections);

/// <summary>
/// Adds up what a host says that its VMs have used. The owner of one whose traffic is more than is meant for a month is
/// told by email, once in the month; nothing is slowed down or cut off.
/// </summary>
public static class TakeInUsage
{
    /// <summary>The share of the CPUs is not computed of less time than this.</summary>
    static readonly TimeSpan Least = TimeSpan.FromMinutes(1);

    public static async Task RunAsync(NpgsqlTransaction transaction, string host, IReadOnlyList<VmCounters> used,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var over = await transaction.ListAsync<OverLimitRow>(TrafficSql.TakeIn, new
        {
            host,
            now,
            ids = used.Select(u => u.Id).ToArray(),
            cpuMs = used.Select(u => u.CpuMs).ToArray(),
            received = used.Select(u => u.Received).ToArray(),
            sent = used.Select(u => u.Sent).ToArray(),
            connections = used.Select(u => u.Connections).ToArray(),
            least = (int)Least.TotalMilliseconds,
            busy = settings.AlertCpuPercent,
            crowded = settings.AlertConnections,
            limit = settings.TrafficBytes,
        }, cancel);
        if (over.Count == 0) return;
        await transaction.ExecuteAsync(TrafficSql.Told, new { vms = over.Select(o => o.Vm).ToArray(), now }, cancel);
        await new Outbox(time).EnqueueManyAsync(
            transaction, [.. over.Select(o => Write(o, settings.TrafficBytes, settings))], cancel);
    }

    /// <param name="limit">What is meant for a month, bytes.</param>
    public static Mail Write(OverLimitRow over, long limit, Settings settings) =>
        MailText.Write("traffic", over.Email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["name"] = over.Name,
            ["received"] = Show.Bytes(over.Received),
            ["sent"] = Show.Bytes(over.Sent),
            ["limit"] = Show.Bytes(limit),
            ["link"] = Site.Link(settings, $"/vms/{over.Vm}/traffic").ToString(),
        });
}
