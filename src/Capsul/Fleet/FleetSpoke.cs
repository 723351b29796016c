using System.Net;
using Capsul.Foundation;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;
using Capsul.Spoke.Vms;
using Capsul.Wire;

namespace Capsul.Fleet;

/// <summary>
/// One Spoke of a fleet: the program that runs on a host, over the simulated hypervisor, with a data folder of its own.
/// </summary>
public sealed class FleetSpoke(
    int number, FleetPlan plan, Settings settings, ImageStore images, FleetCounts counts, FleetFaults faults,
    TimeProvider time)
{
    static readonly TimeSpan UpFor = TimeSpan.FromDays(1);

    /// <summary>One for each, as hosts have: the Hub limits the requests of one address.</summary>
    IPAddress Address => new([127, 1, (byte)(number >> 8), (byte)number]);

    Identity? identity;

    /// <param name="number">From 0.</param>
    /// <param name="folder">All Spokes' folders are in here.</param>
    /// <param name="plan">What it runs.</param>
    /// <param name="images">Shared by all Spokes.</param>
    public static Settings SettingsFor(int number, string folder, FleetPlan plan, ImageStore images) =>
        Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = Path.Combine(folder, FleetPlan.HostName(number)),
            ["CAPSUL_CONFIG"] = "none",
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_VM_NETWORK"] = plan.Network.ToString(),
            ["CAPSUL_IMAGES"] = images.Folder,
        });

    public async Task JoinAsync(JoinToken token, CancellationToken cancel) =>
        identity = await Identity.JoinAsync(settings.Data, token, Address, cancel);

    /// <summary>Writes what it would have kept of its VMs.</summary>
    /// <param name="image">What they boot from.</param>
    /// <param name="epoch">The Hub's.</param>
    public async Task WriteAsync(Image image, long epoch, CancellationToken cancel)
    {
        var folder = Path.Combine(settings.Data, "spoke");
        var vms = plan.VmsOf(number).ToList();
        Directory.CreateDirectory(Path.Combine(folder, "vms"));
        var records = new VmRecords(Path.Combine(folder, "vms"), new FleetLog(counts));
        foreach (var vm in vms)
            records.Save(new VmRecord(epoch, WantedOf(vm, image), 0, vm.Port, 0, vm.Generation,
                [new SshHostKey { Type = vm.HostKey.Type, Key = vm.HostKey.Key }]));
        await new AppliedState(folder).AdvanceAsync(epoch, plan.VmsPerSpoke, cancel);
        await using var machines = new Simulated(settings, images, time);
        machines.Fill(vms.Select(v => (v.Id, v.HostKey.Key)), time.GetUtcNow() - UpFor);
    }

    static WantedVm WantedOf(FleetVm vm, Image image) => new()
    {
        Id = vm.Id,
        Power = Power.On,
        Generation = vm.Generation,
        Name = vm.Name,
        Vcpus = 1,
        MemoryMb = FleetPlan.MemoryMb,
        DiskGb = FleetPlan.DiskGb,
        ImageId = image.Id,
        ImageSha256 = image.Sha256,
        Mac = Hub.Features.Hosts.Ipv4.Mac(vm.Address),
        Address = vm.Address.ToString(),
        SshKeys = { vm.Key.Line },
        HasRun = true,
    };

    /// <summary>Runs until canceled; with faults it is ended and started again now and then.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        using var folder = DataFolder.Take(settings.Data, "spoke");
        while (!cancel.IsCancellationRequested)
        {
            using var life = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            life.CancelAfter(faults.DrawLife());
            using var log = new FleetLog(counts);
            await using var hypervisor = new Simulated(settings, images, time)
            {
                MemoryMb = plan.HostMemoryMb,
                RelaysListen = false,
                Chance = faults.Any ? faults.Draw : null,
            };
            try
            {
                await new SpokeProgram(settings, identity!, hypervisor, images, time, log).RunAsync(life.Token);
            }
            catch (OperationCanceledException) when (life.IsCancellationRequested)
            {
                log.End();
            }
        }
    }
}
