using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Gives the VMs of an account that follow their size the price of another level, in the caller's transaction, which
/// has locked the account: their open spans end now and others begin, and the totals follow.
/// </summary>
public static class LevelVms
{
    /// <summary>
    /// Locks the VMs, so that no price of a size comes in between; true: one has, and they do not have it yet.
    /// </summary>
    public static async Task<bool> LockAsync(
        NpgsqlTransaction transaction, string email, DateTime now, CancellationToken cancel)
    {
        await transaction.ListAsync<RepricedVmRow>(LevelVmsSql.Lock, new { email }, cancel);
        return await transaction.AskAsync<bool>(LevelVmsSql.AreBehind, new { email, now }, cancel);
    }

    /// <summary>Locks in the usual order: VMs, hosts, spans, totals.</summary>
    public static async Task RunAsync(
        NpgsqlTransaction transaction, string email, int percent, DateTime now, CancellationToken cancel)
    {
        var vms = await transaction.ListAsync<RepricedVmRow>(LevelVmsSql.Lock, new { email }, cancel);
        if (vms.Count == 0) return;
        var from = await transaction.AskAsync<DateTime>(LevelVmsSql.From, new { email, now }, cancel);
        var ids = vms.Select(v => v.Id).ToArray();
        var hosts = vms.Where(v => !v.IsGone).Select(v => v.Host).Distinct(StringComparer.Ordinal).ToArray();
        await transaction.ListAsync<string>(MoveSql.LockHosts, new { hosts }, cancel);
        await transaction.ExecuteAsync(HostSql.NextGenerations, new { ids = hosts }, cancel);
        await transaction.ListAsync<long>(RepriceVmsSql.LockSpans, new { ids, from }, cancel);
        await transaction.ListAsync<string>(MeteringSql.LockThese, new { emails = new[] { email } }, cancel);
        await transaction.ExecuteAsync(LevelVmsSql.Cut, new { ids, from, percent }, cancel);
        await transaction.ExecuteAsync(LevelVmsSql.PriceLater, new { ids, from, percent }, cancel);
        await transaction.ExecuteAsync(LevelVmsSql.SetPrice, new { ids, percent }, cancel);
    }
}
