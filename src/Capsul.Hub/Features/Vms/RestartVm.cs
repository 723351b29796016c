using Capsul.Foundation;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>Shuts the guest down (after the grace: turns it off) and starts it again.</summary>
public static class RestartVm
{
    public const string OperationName = "restart_vm";

    static readonly TimeSpan Beyond = TimeSpan.FromMinutes(5);

    public static Problem? Decide(VmRow? vm) => Vms.Decide(vm, "running", "Only a running capsul can be restarted.");

    public static Task<Outcome<string>> RunAsync(Db db, string email, string id, Settings settings, TimeProvider time, CancellationToken cancel) =>
        Vms.ChangeAsync(db, email, id, new(OperationName, "restarting", "on", 1, settings.StopGrace, settings.StopGrace + Beyond), Decide, time, cancel);
}
