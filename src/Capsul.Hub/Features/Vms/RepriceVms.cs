using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Gives VMs the price of their size that has come into force, in the caller's fenced transaction: their open spans end
/// at that instant and others begin, and the totals follow. A VM says since when it has its price, so it is done once,
/// whatever was killed in between, and whoever was away when it came into force comes to the same sums.
/// </summary>
public static class RepriceVms
{
    /// <summary>Locks in the usual order: VMs, hosts, spans, totals. Returns how many VMs got the price.</summary>
    public static async Task<int> RunAsync(
        NpgsqlTransaction transaction, string[] candidates, decimal dollars, DateTime from, CancellationToken cancel)
    {
        var vms = await transaction.ListAsync<RepricedVmRow>(
            RepriceVmsSql.Lock, new { ids = candidates, from }, cancel);
        if (vms.Count == 0) return 0;
        var ids = vms.Select(v => v.Id).ToArray();
        var hosts = vms.Where(v => !v.IsGone).Select(v => v.Host).Distinct(StringComparer.Ordinal).ToArray();
        await transaction.ListAsync<string>(MoveSql.LockHosts, new { hosts }, cancel);
        await transaction.ExecuteAsync(HostSql.NextGenerations, new { ids = hosts }, cancel);
        await transaction.ListAsync<long>(RepriceVmsSql.LockSpans, new { ids, from }, cancel);
        var emails = vms.Select(v => v.Email).Distinct(StringComparer.Ordinal).ToArray();
        await transaction.ListAsync<string>(MeteringSql.LockThese, new { emails }, cancel);
        await transaction.ExecuteAsync(RepriceVmsSql.Cut, new { ids, from, dollars }, cancel);
        await transaction.ExecuteAsync(RepriceVmsSql.PriceLater, new { ids, from, dollars }, cancel);
        await transaction.ExecuteAsync(RepriceVmsSql.SetPrice, new { ids, from, dollars }, cancel);
        return vms.Count;
    }
}
