using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Hosts;

/// <summary>How many VMs a host creates at a time.</summary>
public static class SetBuildSlots
{
    public const int Most = 1000;

    /// <summary>Follows the setting of the Hub.</summary>
    public const string Auto = "auto";

    /// <param name="host">The host, or null.</param>
    /// <param name="name">Its name.</param>
    /// <param name="slots">A number, or <see cref="Auto"/>.</param>
    public static Problem? Decide(HostStateRow? host, string name, string slots) =>
        host is null or { State: "removed" } ? DrainHost.NotFound(name)
        : slots == Auto || Parse(slots) is not null ? null
        : new(ProblemKind.Invalid, $"Build slots are a number from 1 to {Most}, or {Auto}.") { Field = "Slots" };

    static int? Parse(string slots) =>
        int.TryParse(slots, NumberStyles.None, CultureInfo.InvariantCulture, out var n) && n is >= 1 and <= Most
            ? n : null;

    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, string name, string? slots, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var wanted = (slots ?? "").Trim();
            var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
            if (Decide(host, name, wanted) is { } problem) return problem;
            await transaction.ExecuteAsync(
                HostChangeSql.SetBuildSlots, new { id = name, slots = Parse(wanted) }, cancel);
            await transaction.AuditAsync(actor, "set_build_slots", name, wanted, cancel);
            return name;
        }, cancel);
}
