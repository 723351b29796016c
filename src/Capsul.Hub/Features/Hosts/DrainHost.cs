using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Hosts;

/// <summary>No new VMs are placed on the host; those that are there stay and may be used.</summary>
public static class DrainHost
{
    /// <summary>The refusal, or null. Draining it again replaces the reason.</summary>
    public static Problem? Decide(HostStateRow? host, string name) => host switch
    {
        null or { State: "removed" } => NotFound(name),
        { State: "revoked" } => new(ProblemKind.Conflict, $"{name} is revoked: no capsul is placed on it anyway."),
        _ => null,
    };

    public static Problem NotFound(string name) => new(ProblemKind.NotFound, $"There is no host {name}.");

    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, string name, string? reason, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
            if (Decide(host, name) is { } problem) return problem;
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            await transaction.ExecuteAsync(HostChangeSql.Drain, new { id = name, reason = why }, cancel);
            await transaction.AuditAsync(actor, "drain_host", name, why, cancel);
            return name;
        }, cancel);
}
