using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Pools;

/// <summary>
/// How long an address is not used again after its VM is gone, so that nobody gets another's visitors. Holds for
/// addresses that are freed from then on.
/// </summary>
public static class SetCoolDown
{
    public const int MostHours = 8760;

    public static Outcome<int> Decide(HostStateRow? host, string name, string? hours) =>
        host is null or { State: "removed" } ? DrainHost.NotFound(name)
        : int.TryParse(hours, NumberStyles.None, CultureInfo.InvariantCulture, out var n) && n <= MostHours ? n
        : new Problem(ProblemKind.Invalid, $"The cool-down is a number of hours from 0 to {MostHours}.")
        {
            Field = "Hours",
        };

    /// <returns>The hours.</returns>
    public static Task<Outcome<int>> RunAsync(
        Db db, string actor, string name, string? hours, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
            if (Decide(host, name, hours?.Trim()).Refused(out var problem, out var n)) return problem;
            if (await transaction.ExecuteAsync(
                PoolSql.SetCoolDown, new { host = name, seconds = n * 3600 }, cancel) == 0)
                return new Problem(ProblemKind.Conflict, $"{name} has not reported its network yet.");
            await transaction.AuditAsync(actor, "set_cool_down", name, $"{n} hours", cancel);
            return n;
        }, cancel);
}
