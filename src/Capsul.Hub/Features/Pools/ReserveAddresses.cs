using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Pools;

/// <summary>
/// Keeps addresses of a host's IPv4 pool from VMs, or releases them again. A VM that has one keeps it until it is gone.
/// </summary>
public static class ReserveAddresses
{
    /// <summary>A range, both ends included.</summary>
    public sealed record Range(string First, string Last);

    /// <summary>The range that a text names: an address, or two with a hyphen between them.</summary>
    public static Outcome<Range> Decide(HostStateRow? host, string name, PoolRow? pool, string? text)
    {
        if (host is null or { State: "removed" }) return DrainHost.NotFound(name);
        if (pool is null)
            return new Problem(ProblemKind.Conflict, $"{name} has not reported its network yet.");
        var parts = (text ?? "").Split('-', StringSplitOptions.TrimEntries);
        if (parts.Length > 2 || !Ipv4.TryParse(parts[0], out var first) || !Ipv4.TryParse(parts[^1], out var last)
            || Ipv4.Number(first) > Ipv4.Number(last))
            return Wrong("Give an address, such as 10.77.0.5, or a range, such as 10.77.0.5-10.77.0.9.");
        return Ipv4.Number(first) < Ipv4.Number(IPAddress.Parse(pool.First))
            || Ipv4.Number(last) > Ipv4.Number(IPAddress.Parse(pool.Last))
            ? Wrong($"VMs of {name} get addresses from {pool.First} to {pool.Last}; others need not be reserved.")
            : new Range(first.ToString(), last.ToString());
    }

    /// <returns>How many addresses that are.</returns>
    public static Task<Outcome<int>> RunAsync(
        Db db, string actor, string name, string? range, string? reason, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            return await SetAsync(transaction, actor, name, range, why, time, cancel);
        }, cancel);

    /// <summary>VMs may have them again.</summary>
    public static Task<Outcome<int>> ReleaseAsync(
        Db db, string actor, string name, string? range, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(transaction => SetAsync(transaction, actor, name, range, "", time, cancel), cancel);

    static async Task<Outcome<int>> SetAsync(Npgsql.NpgsqlTransaction transaction, string actor, string name,
        string? text, string reason, TimeProvider time, CancellationToken cancel)
    {
        var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
        var pool = (await transaction.ListAsync<PoolRow>(
            PoolSql.OfHost, new { host = name, now = time.GetUtcNow().UtcDateTime }, cancel))
            .FirstOrDefault(p => p.Family == 4);
        if (Decide(host, name, pool, text).Refused(out var problem, out var range)) return problem;
        var count = await transaction.ExecuteAsync(
            AddressSql.Reserve, new { host = name, range.First, range.Last, reason }, cancel);
        await transaction.AuditAsync(actor, reason.Length > 0 ? "reserve_addresses" : "release_addresses", name,
            $"{range.First} to {range.Last}{(reason.Length > 0 ? $": {reason}" : "")}", cancel);
        return count;
    }

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Range" };
}
