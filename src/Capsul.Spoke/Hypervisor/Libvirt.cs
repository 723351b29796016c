using System.Threading.Channels;
using Capsul.Foundation;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Microsoft.Extensions.Logging;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The real hypervisor: QEMU under libvirt. Split by topic: this file connects and reports, <c>Disks</c>,
/// <c>Domains</c> and <c>Networks</c> hold the verbs. It promises that a domain's state is what libvirt reported just
/// now, or Unreachable; it only touches things whose names are Capsul's; and removing a VM leaves nothing behind. Files
/// are under <c>spoke/</c> in the data folder: <c>disks</c>, <c>seeds</c>, <c>consoles</c>, and in private mode the
/// <see cref="Sandbox"/>'s own.
/// </summary>
public sealed partial class Libvirt : IHypervisor
{
    static readonly TimeSpan Quick = TimeSpan.FromSeconds(5), Slow = TimeSpan.FromSeconds(30);

    /// <summary>virDomainState, the values that matter.</summary>
    const int NoState = 0, Paused = 3, ShutOff = 5, Crashed = 6;

    /// <summary>virDomainPausedReason: a write to a disk failed.</summary>
    const int PausedByIoError = 5;

    /// <summary>virDomainShutoffReason: QEMU exited in an orderly way.</summary>
    const int ShutOffByShutdown = 1;

    readonly Settings settings;
    readonly ImageStore images;
    readonly ILogger log;
    readonly TimeProvider time;
    readonly LibvirtConnection libvirt;
    readonly Filter filter;
    readonly GuestGroups groups;
    readonly Channel<string> changes =
        Channel.CreateBounded<string>(new BoundedChannelOptions(1024) { FullMode = BoundedChannelFullMode.DropOldest });
    readonly VmNetwork network;
    readonly string disks, seeds, consoles;
    readonly CancellationTokenSource lifetime = new();
    Sandbox? sandbox;
    WayOut? wayOut;
    Task keeping = Task.CompletedTask, keepingFilter = Task.CompletedTask;
    bool kvm;

    public Libvirt(Settings settings, ImageStore images, ILogger log, TimeProvider time)
    {
        (this.settings, this.images, this.log, this.time) = (settings, images, log, time);
        network = NetworkXml.Layout(settings);
        var spoke = Path.Combine(settings.Data, "spoke");
        (disks, seeds, consoles) =
            (Path.Combine(spoke, "disks"), Path.Combine(spoke, "seeds"), Path.Combine(spoke, "consoles"));
        libvirt = new LibvirtConnection(DaemonAsync, changes.Writer, time, log);
        groups = new GuestGroups("/sys/fs/cgroup", DataFolder.ShortName(settings.Data), log);
        filter = new Filter(arguments => Program("nft", arguments));
    }

    public ChannelReader<string> Changes => changes.Reader;

    /// <summary>
    /// The network namespace through which guests reach the world in private mode; null: this machine's.
    /// </summary>
    internal string? OutsideNetwork { get; init; }

    bool Private => settings.Libvirt == "private";

    /// <summary>Whether a domain of this name is Capsul's: <c>capsul-</c> and ten of [a-z0-9].</summary>
    public static bool IsOurs(string name) =>
        name.Length == 17 && name.StartsWith("capsul-", StringComparison.Ordinal)
            && name.AsSpan(7).IndexOfAnyExcept(IdLetters) < 0;

    static readonly System.Buffers.SearchValues<char> IdLetters =
        System.Buffers.SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789");

    public async Task PrepareAsync(CancellationToken cancel)
    {
        try
        {
            foreach (var folder in (string[])[disks, seeds, consoles])
            {
                Directory.CreateDirectory(folder);
                File.SetUnixFileMode(folder, (UnixFileMode)0b111_001_001);
            }
            Directory.CreateDirectory(images.Folder);
            kvm = await ProbeAsync(cancel);
            if (Private)
            {
                sandbox ??= await Sandbox.OpenAsync(settings, kvm, time, log, cancel);
                await sandbox.UseKvmAsync(settings, kvm, cancel);
            }
            Directory.CreateDirectory(SocketsFolder, (UnixFileMode)0b111_000_000);
            await libvirt.CallAsync("set up the storage pool", Slow, PreparePool, cancel);
            await libvirt.CallAsync("set up the network", Slow, PrepareNetwork, cancel);
            await AttachTapsAsync(cancel);
            await PrepareFilterAsync(cancel);
            if (keepingFilter.IsCompleted) keepingFilter = KeepFilterAsync();
            await PrepareWayOutAsync(cancel);
            // Dialing a guest that is still booting waits for ARP, which retries once per second; that second would be
            // most of the time until a new VM is seen to be ready.
            await Program("ip", "ntable", "change", "name", "arp_cache", "dev", NetworkXml.Bridge, "retrans", "100")
                .RunAsync(cancel);
            // libvirt probes QEMU when it is first needed, which takes seconds; better now than while the first
            // customer waits.
            await libvirt.CallAsync("query QEMU", Slow, connect => Take(
                virConnectGetDomainCapabilities(connect, null, "x86_64", "q35", kvm ? "kvm" : "qemu", 0)).Length,
                cancel);
            _ = VerifyImagesAsync();
        }
        catch (Exception error) when (error is ProblemException or IOException or UnauthorizedAccessException)
        {
            throw new HypervisorException(error.Message, final: false, error) { Unreachable = true };
        }
    }

    public async Task<HostCapacity> CapacityAsync(CancellationToken cancel)
    {
        var version = await libvirt.CallAsync("report its version", Quick, connect =>
        {
            Check(virConnectGetVersion(connect, out var number));
            return (long)number;
        }, cancel);
        var memory = File.ReadLines("/proc/meminfo").First(l => l.StartsWith("MemTotal:", StringComparison.Ordinal));
        var totalMb = (int)(long.Parse(memory.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) / 1024);
        var name = $"QEMU {version / 1_000_000}.{version / 1000 % 1000}.{version % 1000} ({(kvm ? "KVM" : "TCG")})";
        var drive = new DriveInfo(disks);
        return new HostCapacity(name, Environment.ProcessorCount, Math.Max(0, totalMb - settings.MemoryReserveMb),
            drive.TotalSize >> 20, drive.AvailableFreeSpace >> 20, network);
    }

    public async Task<IReadOnlyList<DomainState>> ListAsync(CancellationToken cancel)
    {
        var (domains, hosts) =
            await libvirt.CallAsync("list the VMs", Quick, connect => (Domains(connect), Hosts(connect)), cancel);
        var known = domains.Select(d => d.Id).ToHashSet(StringComparer.Ordinal);
        var left = hosts.Select(h => h.Name).Concat(Files().Select(IdOf)).Where(IsOurs)
            .Distinct(StringComparer.Ordinal).Where(id => !known.Contains(id));
        return [.. domains, .. left.Select(id => new DomainState(id, DomainPower.Off))];
    }

    public async Task<DomainPower?> FindAsync(string id, CancellationToken cancel)
    {
        Require(id);
        var (power, entry) = await libvirt.CallAsync($"find {id}", Quick,
            connect => (Power(connect, id), Hosts(connect).Any(h => h.Name == id)), cancel);
        return power ?? (entry || Files().Any(f => IdOf(f) == id) ? DomainPower.Off : null);
    }

    public Task<bool> StoppedByGuestAsync(string id, CancellationToken cancel)
    {
        Require(id);
        return libvirt.CallAsync($"find out why {id} is off", Quick, connect =>
        {
            using var domain = Lookup(connect, id);
            if (domain is null) return false;
            Check(virDomainGetState(domain, out var state, out var reason, 0));
            // The reason alone does not distinguish a poweroff inside the guest from a SIGTERM to QEMU when the host
            // shuts down; the event does.
            return state == ShutOff && reason == ShutOffByShutdown && !libvirt.EndedByHost(id);
        }, cancel);
    }

    /// <summary>In private mode they run in a process beside the sandbox, so that they outlive this one.</summary>
    public IRelays MakeRelays(ILogger log) =>
        Private ? new RelayProcess(settings, log) : new Relays(settings, DialAsync, DialUdpAsync, log);

    public async ValueTask DisposeAsync()
    {
        await lifetime.CancelAsync();
        await keeping.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await keepingFilter.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lifetime.Dispose();
        await libvirt.DisposeAsync();
        sandbox?.Dispose();
        changes.Writer.TryComplete();
    }

    /// <summary>A program in the network namespace of the VMs.</summary>
    Command Program(string name, params string[] arguments) =>
        sandbox?.Inside(name, arguments) ?? new Command(name, arguments) { Timeout = Quick };

    /// <summary>Makes sure that the daemon is running, if it is ours, and returns its URI.</summary>
    async Task<string> DaemonAsync(CancellationToken cancel)
    {
        if (!Private) return settings.Libvirt;
        try
        {
            await sandbox!.EnsureDaemonsAsync(time, cancel);
            return sandbox.Uri;
        }
        catch (ProblemException error)
        {
            throw new HypervisorException(error.Message, final: false, error) { Unreachable = true };
        }
    }

    async Task<bool> ProbeAsync(CancellationToken cancel)
    {
        var verdict = await new KvmProbe(settings, time).DecideAsync(cancel);
        Log.KvmDecided(log, verdict.Use, verdict.Why);
        return verdict.Use;
    }

    /// <summary>
    /// Verifies the images once in the background, so that the first VM need not wait for it; a damaged one is reported
    /// when it is used.
    /// </summary>
    async Task VerifyImagesAsync()
    {
        try
        {
            foreach (var image in images.List())
                await images.VerifyAsync(image, CancellationToken.None);
        }
        catch (Exception error)
            when (error is IOException or UnauthorizedAccessException or System.Text.Json.JsonException)
        {
            Log.ImagesUnread(log, images.Folder, error);
        }
    }

    static unsafe IReadOnlyList<DomainState> Domains(ConnectHandle connect)
    {
        var count = Check(virConnectListAllDomains(connect, out var list, 0));
        var found = new List<DomainState>();
        for (var i = 0; i < count; i++)
        {
            var domain = ((nint*)list)[i];
            var name = System.Runtime.InteropServices.Marshal.PtrToStringUTF8(virDomainGetName(domain));
            // A domain that was undefined meanwhile has no state anymore; the next call will not find it.
            if (name is not null && IsOurs(name))
                found.Add(new DomainState(name,
                    virDomainGetRawState(domain, out var state, out var reason, 0) < 0 ? DomainPower.Unknown
                        : ToPower(state, reason)));
            _ = virDomainFree(domain);
        }
        Free(list);
        return found;
    }

    static DomainPower? Power(ConnectHandle connect, string id)
    {
        using var domain = Lookup(connect, id);
        if (domain is null) return null;
        Check(virDomainGetState(domain, out var state, out var reason, 0));
        return ToPower(state, reason);
    }

    static DomainHandle? Lookup(ConnectHandle connect, string id) =>
        Find(virDomainLookupByName(connect, id), LibvirtError.NoDomain);

    /// <summary>
    /// The result of a lookup, or null when libvirt reports that there is none; other errors are thrown.
    /// </summary>
    static T? Find<T>(T handle, int none) where T : LibvirtHandle
    {
        if (!handle.IsInvalid) return handle;
        var error = LastError();
        handle.Dispose();
        return error.Code == none ? null : throw error;
    }

    /// <summary>
    /// A domain pauses itself only if the host's disk is full (the policy in <see cref="DomainXml"/>).
    /// </summary>
    static DomainPower ToPower(int state, int reason) =>
        state == Paused && reason == PausedByIoError ? DomainPower.Paused : ToPower(state);

    /// <summary>Paused and shutting down count as on: the VM keeps its memory and CPU until it is off.</summary>
    static DomainPower ToPower(int state) => state switch
    {
        NoState => DomainPower.Unknown,
        ShutOff or Crashed => DomainPower.Off,
        _ => DomainPower.On,
    };

    IEnumerable<string> Files() =>
        ((string[])[disks, seeds, consoles]).Where(Directory.Exists).SelectMany(Directory.GetFileSystemEntries);

    static string IdOf(string file) => Path.GetFileName(file).Split('.')[0];

    static void Require(string id)
    {
        if (!IsOurs(id)) throw new HypervisorException($"\"{id}\" is not the name of a Capsul VM.", final: true);
    }
}
