using Capsul.Foundation;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>Asks the guest to shut down; after the grace it is turned off.</summary>
public static class StopVm
{
    public const string OperationName = "stop_vm";

    /// <summary>What turning off may take after the grace.</summary>
    static readonly TimeSpan Beyond = TimeSpan.FromMinutes(2);

    public static Problem? Decide(VmRow? vm) => Vms.Decide(vm, "running", "Only a running capsul can be stopped.");

    public static Task<Outcome<string>> RunAsync(Db db, string email, string id, Settings settings, TimeProvider time, CancellationToken cancel) =>
        Vms.ChangeAsync(db, email, id, new(OperationName, "stopping", "off", 0, settings.StopGrace, settings.StopGrace + Beyond), Decide, time, cancel);
}
