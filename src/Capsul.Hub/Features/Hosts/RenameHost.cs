using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Hosts;

/// <summary>
/// Gives a host another name. Its certificate stays valid, because hosts are identified by the whole certificate and
/// not by the name in it: the connection ends, and the next one is welcomed under the new name.
/// </summary>
public static class RenameHost
{
    /// <param name="host">The host, or null.</param>
    /// <param name="name">Its present name.</param>
    /// <param name="newName">The name that it shall have.</param>
    /// <param name="taken">State of the host that has that name, or null.</param>
    public static Problem? Decide(HostStateRow? host, string name, string newName, string? taken) =>
        host is null or { State: "removed" } ? DrainHost.NotFound(name)
        : InviteHost.Decide(newName) is { } problem ? problem with { Field = "NewName" }
        : taken is not null ? Taken(newName, taken)
        : null;

    static Problem Taken(string name, string state)
    {
        var sentence = state == "removed"
            ? $"{name} was removed, and its name stays with the capsuls that were on it. Choose another."
            : $"There is already a host {name}.";
        return new(ProblemKind.Conflict, sentence) { Field = "NewName" };
    }

    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, string name, string? newName, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var wanted = (newName ?? "").Trim();
            // In lock order: the host's name is also in the rows of its VMs.
            await transaction.ListAsync<string>(VmRepairSql.LockOnHost, new { host = name }, cancel);
            var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
            var taken = await transaction.FindAsync<string>(HostSql.StateOf, new { id = wanted }, cancel);
            if (Decide(host, name, wanted, taken) is { } problem) return problem;
            await transaction.ExecuteAsync(HostChangeSql.Rename, new { id = name, name = wanted }, cancel);
            await transaction.ExecuteAsync(AlertSql.Rename, new { subject = name, name = wanted }, cancel);
            await transaction.AuditAsync(actor, "rename_host", wanted, $"was {name}", cancel);
            return wanted;
        }, cancel);
}
