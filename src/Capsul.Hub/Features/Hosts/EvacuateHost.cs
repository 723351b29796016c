using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Hosts;

/// <summary>
/// Drains a host, and has all its VMs moved away, a few at a time, until nothing is left or it is undrained. Asking
/// again replaces target and reason.
/// </summary>
public static class EvacuateHost
{
    /// <param name="host">The host, or null.</param>
    /// <param name="name">Its name.</param>
    /// <param name="to">The target; empty: any host with room.</param>
    /// <param name="target">State of the target, or null.</param>
    public static Problem? Decide(HostStateRow? host, string name, string to, string? target) =>
        DrainHost.Decide(host, name) is { } problem ? problem
        : to.Length == 0 ? null
        : to == name ? Wrong("A host cannot be evacuated to itself.")
        : target is not "joined" ? Wrong($"There is no host {to} that has joined.")
        : null;

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "To" };

    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, string name, string? to, string? reason, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var wanted = (to ?? "").Trim();
            var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
            var target = await transaction.FindAsync<string>(HostSql.StateOf, new { id = wanted }, cancel);
            if (Decide(host, name, wanted, target) is { } problem) return problem;
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            await transaction.ExecuteAsync(HostChangeSql.Evacuate,
                new { id = name, to = wanted, reason = why }, cancel);
            await transaction.AuditAsync(
                actor, "evacuate_host", name, wanted.Length > 0 ? $"to {wanted}: {why}" : why, cancel);
            return name;
        }, cancel);
}
