using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Gives extras the price that has come into force, in the caller's fenced transaction, as <see cref="RepriceVms"/>
/// does for VMs: once, from that instant on, whenever it is done.
/// </summary>
public static class RepriceExtras
{
    /// <summary>Locks in the usual order: VMs, hosts, spans, totals. Returns how many got the price.</summary>
    public static async Task<int> RunAsync(
        NpgsqlTransaction transaction, long[] candidates, decimal dollars, DateTime from, CancellationToken cancel)
    {
        var extras = await transaction.ListAsync<RepricedExtraRow>(
            RepriceExtrasSql.Lock, new { ids = candidates, from }, cancel);
        if (extras.Count == 0) return 0;
        var (ids, vms) = (extras.Select(x => x.Id).ToArray(), Distinct(extras.Select(x => x.Vm)));
        var hosts = Distinct(extras.Where(x => !x.IsGone).Select(x => x.Host));
        await transaction.ListAsync<string>(MoveSql.LockHosts, new { hosts }, cancel);
        await transaction.ExecuteAsync(HostSql.NextGenerations, new { ids = hosts }, cancel);
        var all = new { ids, vms, from, dollars };
        await transaction.ListAsync<long>(RepriceExtrasSql.LockSpans, all, cancel);
        await transaction.ListAsync<string>(
            MeteringSql.LockThese, new { emails = Distinct(extras.Select(x => x.Email)) }, cancel);
        await transaction.ExecuteAsync(RepriceExtrasSql.Cut, all, cancel);
        await transaction.ExecuteAsync(RepriceExtrasSql.PriceLater, all, cancel);
        await transaction.ExecuteAsync(RepriceExtrasSql.Renew, all, cancel);
        await transaction.ExecuteAsync(RepriceExtrasSql.SetPrice, all, cancel);
        return extras.Count;
    }

    static string[] Distinct(IEnumerable<string> names) => [.. names.Distinct(StringComparer.Ordinal)];
}
