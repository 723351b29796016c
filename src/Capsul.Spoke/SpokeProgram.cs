using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;
using Capsul.Spoke.Vms;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke;

/// <summary>
/// The Spoke: one reconciler per VM, one connection to the Hub. The last wanted states are on disk, so that VMs are
/// managed even while the Hub is unreachable and right after a crash. <see cref="HostVms"/> has the VMs, <see
/// cref="HubConnection"/> the connection.
/// </summary>
public sealed class SpokeProgram(
    Settings settings, Identity identity, IHypervisor hypervisor,
    ImageStore images, TimeProvider time, ILoggerFactory logs)
{
    readonly ILogger log = logs.CreateLogger("Capsul.Spoke");
    readonly AppliedState applied = new(Path.Combine(settings.Data, "spoke"));

    /// <summary>Version of this program, as reported to the Hub.</summary>
    public static string Version => typeof(SpokeProgram).Assembly.GetName().Version!.ToString(3);

    /// <summary>
    /// Prepares the hypervisor, resumes every recorded VM, and stays connected to the Hub until canceled.
    /// </summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        applied.Load();
        await PrepareAsync(cancel);
        await using var relays = hypervisor.MakeRelays(log);
        var records = new VmRecords(Path.Combine(settings.Data, "spoke", "vms"), log);
        var vms = new HostVms(hypervisor, records, relays, applied, time, log);
        var connection = new HubConnection(
            vms, settings, identity, hypervisor, images, time, logs.CreateLogger<HubConnection>());
        vms.Told = connection.Tell;
        vms.Transfers = new HubTransfers(identity, () => connection.Address, time);
        connection.OpenStream = new HubStreams(
            identity, () => connection.Address, hypervisor, new Consoles(hypervisor, time),
            new Screens(hypervisor, time), vms.AddressOf, log, cancel)
            .Begin;
        vms.Start(cancel);
        try
        {
            await Task.WhenAll(connection.RunAsync(cancel), WatchAsync(vms, cancel));
        }
        finally
        {
            await vms.EndAsync();
        }
    }

    async Task PrepareAsync(CancellationToken cancel)
    {
        try
        {
            await hypervisor.PrepareAsync(cancel);
        }
        catch (HypervisorException error)
        {
            throw new ProblemException(
                ProblemKind.Unavailable,
                $"The hypervisor is not ready: {error.Message} Run capsul doctor to see what is missing.", null, error);
        }
    }

    async Task WatchAsync(HostVms vms, CancellationToken cancel)
    {
        await foreach (var id in hypervisor.Changes.ReadAllAsync(cancel))
            vms.Look(id);
    }
}
