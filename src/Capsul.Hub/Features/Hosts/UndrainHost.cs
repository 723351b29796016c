using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Hosts;

/// <summary>New VMs may be placed on the host again; if it was being evacuated, that ends.</summary>
public static class UndrainHost
{
    public static Problem? Decide(HostStateRow? host, string name) => host switch
    {
        null or { State: "removed" } => DrainHost.NotFound(name),
        { Accepts: true } => new(ProblemKind.Conflict, $"{name} is not drained."),
        _ => null,
    };

    public static Task<Outcome<string>> RunAsync(Db db, string actor, string name, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
            if (Decide(host, name) is { } problem) return problem;
            await transaction.ExecuteAsync(HostChangeSql.Undrain, new { id = name }, cancel);
            await transaction.ExecuteAsync(MoveRefusalSql.ForgetHost, new { host = name }, cancel);
            await transaction.AuditAsync(actor, "undrain_host", name, host!.DrainReason, cancel);
            return name;
        }, cancel);
}
