using System.Collections.Concurrent;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>
/// A real guest fills the disk of its host: QEMU pauses it, and the Spoke lets it go on when there is room, also a
/// Spoke that was started again meanwhile. The data folder is a small file system of its own.
/// </summary>
[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed class FullDiskTests(RealHypervisor real) : IAsyncLifetime
{
    const int DiskMb = 192;
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    static CancellationToken None => TestContext.Current.CancellationToken;

    readonly string folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;
    readonly ConcurrentQueue<VmReport> reports = new();
    Settings settings = null!;

    RealHypervisor Real => real;

    public async ValueTask InitializeAsync()
    {
        settings = real.Settings.With(("CAPSUL_DATA", folder));
        await new Command("mount", "-t", "tmpfs", "-o", $"size={DiskMb}m", "tmpfs", folder).RunAsync(None);
    }

    public async ValueTask DisposeAsync()
    {
        await Sandbox.StopAsync(settings, TimeProvider.System, CancellationToken.None);
        await new Command("umount", folder).RunAsync(CancellationToken.None);
        Directory.Delete(folder);
    }

    [Fact]
    public async Task A_guest_paused_by_a_full_disk_goes_on_with_what_it_was_writing()
    {
        var spec = real.Spec("mmmmmmmmmm", 22);
        var filler = Path.Combine(folder, "filler");
        await using (var first = new OneSpoke(this, spec))
        {
            await first.StartAsync();
            var ready = await ReportedAsync("it is ready", r => r is { Power: Power.On, Phase: Phase.Ready });
            await FillAsync(filler, leaveMb: 8);
            // On its own: the connection ends with this Spoke.
            (await SshAsync(ready.SshPort, "(trap '' HUP; dd if=/dev/zero bs=1M count=48 | tr '\\0' x >big; sync) "
                + "</dev/null >/dev/null 2>&1 &")).ExitCode.ShouldBe(0);
            await ReportedAsync("it is paused", r => r is { Power: Power.On, Paused: true });
            (await first.Hypervisor.FindAsync(spec.Id, None)).ShouldBe(DomainPower.Paused);
            reports.Last().Problem.ShouldBe(VmReconciler.OutOfSpace);
        }
        // Another Spoke finds it paused, and does not let it go on as long as the disk is full.
        reports.Clear();
        await using var second = new OneSpoke(this, spec);
        await second.StartAsync();
        await ReportedAsync("it is still paused", r => r is { Power: Power.On, Paused: true });

        File.Delete(filler);
        await ReportedAsync("it goes on", r => r is { Power: Power.On, Phase: Phase.Ready, Paused: false });
        var port = reports.Last().SshPort;
        await Until.TrueAsync("the file is complete", Limit, async () =>
            (await SshAsync(port, "sync; md5sum big")).Output.Contains(ExpectedSum, StringComparison.Ordinal));
        reports.ShouldNotContain(r => r.Power == Power.Off);
        await second.Hypervisor.RemoveAsync(spec.Id, None);
    }

    static string ExpectedSum { get; } =
        Convert.ToHexStringLower(System.Security.Cryptography.MD5.HashData(Filled()));

    static byte[] Filled()
    {
        var bytes = new byte[48 << 20];
        bytes.AsSpan().Fill((byte)'x');
        return bytes;
    }

    async Task FillAsync(string file, int leaveMb)
    {
        var bytes = new DriveInfo(folder).AvailableFreeSpace - ((long)leaveMb << 20);
        await new Command("fallocate", "-l", bytes.ToString(), file).RunAsync(None);
    }

    Task<CommandResult> SshAsync(int port, string command) => new Command("ssh", "-i", real.KeyFile,
        "-p", port.ToString(), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "capsul@127.0.0.1", command)
    { Timeout = TimeSpan.FromSeconds(120) }.TryRunAsync(None);

    Task<VmReport> ReportedAsync(string what, Func<VmReport, bool> last) => Until.SomeAsync(what, Limit,
        () => Task.FromResult(!reports.IsEmpty && reports.Last() is var report && last(report) ? report : null));

    /// <summary>A hypervisor, the relays and one reconciler, as in a Spoke.</summary>
    sealed class OneSpoke(FullDiskTests test, VmSpec spec) : IAsyncDisposable
    {
        readonly CancellationTokenSource stop = new();
        readonly List<Task> running = [];
        Relays relays = null!;

        public Libvirt Hypervisor { get; } =
            new(test.settings, test.Real.Images, NullLogger.Instance, TimeProvider.System);

        public async Task StartAsync()
        {
            await Hypervisor.PrepareAsync(None);
            relays = new Relays(test.settings, Hypervisor.DialAsync, Hypervisor.DialUdpAsync, NullLogger.Instance);
            var records = new VmRecords(Path.Combine(test.folder, "spoke", "vms"), NullLogger.Instance);
            var record = records.LoadAll().SingleOrDefault() ?? VmRecord.New(1, Wanted());
            var reconciler = new VmReconciler(record, Hypervisor, records, relays, () => null, test.reports.Enqueue,
                TimeProvider.System, NullLogger.Instance);
            running.Add(Task.Run(() => reconciler.RunAsync(stop.Token)));
            running.Add(Task.Run(async () =>
            {
                await foreach (var id in Hypervisor.Changes.ReadAllAsync(stop.Token)) reconciler.Look();
            }));
        }

        WantedVm Wanted()
        {
            var wanted = new WantedVm
            {
                Id = spec.Id,
                Power = Power.On,
                Generation = 1,
                Name = spec.Name,
                Vcpus = spec.Vcpus,
                MemoryMb = spec.MemoryMb,
                DiskGb = spec.DiskGb,
                ImageId = spec.ImageId,
                ImageSha256 = spec.ImageSha256,
                Mac = spec.Mac,
                Address = spec.Address.ToString(),
            };
            wanted.SshKeys.AddRange(spec.SshKeys);
            return wanted;
        }

        public async ValueTask DisposeAsync()
        {
            await stop.CancelAsync();
            await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await relays.DisposeAsync();
            await Hypervisor.DisposeAsync();
            stop.Dispose();
        }
    }
}
