using Capsul.Foundation;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

public static class StartVm
{
    public const string OperationName = "start_vm";

    static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    public static Problem? Decide(VmRow? vm) => Vms.Decide(vm, "stopped", "Only a stopped capsul can be started.");

    public static Task<Outcome<string>> RunAsync(Db db, string email, string id, TimeProvider time, CancellationToken cancel) =>
        Vms.ChangeAsync(db, email, id, new(OperationName, "starting", "on", 0, TimeSpan.Zero, Limit), Decide, time, cancel);
}
