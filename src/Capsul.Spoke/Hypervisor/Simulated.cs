using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Capsul.Foundation;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The verbs that can be made to misbehave.</summary>
public enum Verb
{
    List, Find, StoppedByGuest, MakeDisk, Define, Start, Shutdown, Resume, TurnOff, Remove, Console, Dial, Foreign,
    TakeOver, EndTakeOver, ExportDisk, ImportDisk, OpenConsole, SetPassword,
    Guard, SetKeys, FindBoot, DropDisks, Usage, OpenScreen,
}

/// <summary>How a verb misbehaves.</summary>
public enum FaultKind
{
    /// <summary>It takes longer.</summary>
    Slow,
    /// <summary>It fails temporarily.</summary>
    Fail,
    /// <summary>It fails permanently.</summary>
    FailFinal,
    /// <summary>The hypervisor does not respond at all.</summary>
    Hang,
    /// <summary>It reports success without doing anything.</summary>
    Lie,
    /// <summary>It succeeds, but the result is lost.</summary>
    LoseAnswer,
}

/// <param name="Times">How many calls it affects.</param>
/// <param name="Message">The error message of a failure.</param>
/// <param name="By">The delay of a slow call; the time limit of a hanging one.</param>
public sealed record Fault(
    FaultKind Kind, int Times = 1, string Message = "The simulated hypervisor failed.", TimeSpan By = default);

/// <summary>
/// A simulated hypervisor with the verbs and the behavior of a real one: for the demo without libvirt, for tests, and
/// for injecting faults. Its state outlives a Spoke that is killed, because it is in a file, as a real machine's
/// domains are. SSH logins do not work; its port 22 sends a banner and closes the connection.
/// </summary>
public sealed partial class Simulated : IHypervisor
{
    sealed record Machine(
        bool Disk, bool Defined, bool On, Content Content, DateTimeOffset? StartedAt, bool ByGuest = false,
        bool Paused = false, string TakenFrom = "", ReceivedDisk? Received = null, long Number = 0,
        IReadOnlyDictionary<long, Content>? Others = null, RescueDisk? Rescue = null, bool InRescue = false);

    readonly Settings settings;
    readonly ImageStore images;
    readonly TimeProvider time;
    readonly string file;
    readonly Lock gate = new();
    readonly Channel<string> changes = Channel.CreateUnbounded<string>();
    readonly ConcurrentDictionary<Verb, ConcurrentQueue<Fault>> faults = new();
    readonly ConcurrentDictionary<string, int> disksMade = new(StringComparer.Ordinal);
    Dictionary<string, Machine> machines = new(StringComparer.Ordinal);

    public Simulated(Settings settings, ImageStore images, TimeProvider time)
    {
        (this.settings, this.images, this.time) = (settings, images, time);
        file = Path.Combine(settings.Data, "spoke", "simulated.json");
    }

    /// <summary>Memory that all VMs together may use, MiB.</summary>
    public int MemoryMb { get; set; } = 256 << 10;

    /// <summary>How long a boot takes until SSH responds.</summary>
    public TimeSpan BootTime { get; set; } = TimeSpan.FromMilliseconds(500);

    /// <summary>Whether a guest reacts when it is asked to shut down.</summary>
    public bool GuestListens { get; set; } = true;

    /// <summary>Whether a guest's SSH ever responds.</summary>
    public bool SshAnswers { get; set; } = true;

    /// <summary>
    /// Whether relays listen. If not, each VM has its port without a socket: thousands of hosts fit on one machine.
    /// </summary>
    public bool RelaysListen { get; set; } = true;

    /// <summary>Decides for every call without an injected fault whether it misbehaves; null: it does not.</summary>
    public Func<Verb, Fault?>? Chance { get; set; }

    public ChannelReader<string> Changes => changes.Reader;

    /// <summary>Makes the next calls of a verb misbehave.</summary>
    public void Inject(Verb verb, Fault fault)
    {
        var queue = faults.GetOrAdd(verb, _ => new());
        for (var i = 0; i < fault.Times; i++) queue.Enqueue(fault);
    }

    /// <summary>Removes all injected faults.</summary>
    public void ClearFaults() => faults.Clear();

    /// <summary>Machines that have run for a long time: what a host has on which a Spoke is started again.</summary>
    /// <param name="running">ID and host key of each.</param>
    /// <param name="since">When they were started.</param>
    public void Fill(IEnumerable<(string Id, string HostKey)> running, DateTimeOffset since)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        lock (gate)
        {
            foreach (var (id, hostKey) in running)
                machines[id] = new Machine(Disk: true, Defined: true, On: true, new Content(id, 1, hostKey), since);
            Save();
        }
    }

    /// <summary>Simulates "poweroff" inside the guest.</summary>
    public void PowerOffFromInside(string id)
    {
        Change(id, m => m is { On: true, Paused: true } ? m : m with { On = false, ByGuest = m.On || m.ByGuest });
        CloseConsole(id);
        CloseScreen(id);
        changes.Writer.TryWrite(id);
    }

    /// <summary>Simulates a power failure or a reboot of the host: everything is off, without events.</summary>
    public void Reboot()
    {
        lock (gate)
        {
            machines = machines.ToDictionary(
                m => m.Key, m => m.Value with { On = false, ByGuest = false }, StringComparer.Ordinal);
            Save();
        }
    }

    /// <summary>Simulates a crash of QEMU, or the kernel's out-of-memory killer.</summary>
    public void Crash(string id)
    {
        Change(id, m => m with { On = false, ByGuest = false });
        CloseConsole(id);
        CloseScreen(id);
        changes.Writer.TryWrite(id);
    }

    /// <summary>Simulates the deletion of a machine's disk.</summary>
    public void LoseDisk(string id) => Change(id, m => m with { Disk = false, On = false });

    /// <summary>How often each disk was created since it was last removed, by the name of its file.</summary>
    public IReadOnlyDictionary<string, int> DisksMade => disksMade;

    public Task PrepareAsync(CancellationToken cancel)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        lock (gate)
        {
            if (File.Exists(file))
                machines = JsonSerializer.Deserialize<Dictionary<string, Machine>>(File.ReadAllText(file)) ?? machines;
        }
        return Task.CompletedTask;
    }

    public Task<HostCapacity> CapacityAsync(CancellationToken cancel)
    {
        var network = settings.VmNetwork;
        var first = network.BaseAddress.GetAddressBytes();
        IPAddress Nth(int n) =>
            new([first[0], first[1], (byte)(first[2] + ((first[3] + n) >> 8)), (byte)(first[3] + n)]);
        var size = 1 << (32 - network.PrefixLength);
        return Task.FromResult(new HostCapacity(
            "simulated", 64, MemoryMb, 10_000_000, full ? 0 : 10_000_000,
            settings.IsBridged ? NetworkXml.Layout(settings)
                : new VmNetwork(network, Nth(1), Nth(2), Nth(size - 2), settings.VmNetwork6)));
    }

    public Task<IReadOnlyList<DomainState>> ListAsync(CancellationToken cancel) =>
        DoAsync<IReadOnlyList<DomainState>>(Verb.List, () =>
        {
            lock (gate)
                return [.. machines.Select(m => new DomainState(m.Key, PowerOf(m.Value)))];
        }, cancel, lie: []);

    public Task<DomainPower?> FindAsync(string id, CancellationToken cancel) => DoAsync<DomainPower?>(Verb.Find, () =>
    {
        lock (gate)
            return machines.TryGetValue(id, out var machine) ? PowerOf(machine) : null;
    }, cancel);

    public Task<bool> StoppedByGuestAsync(string id, CancellationToken cancel) => DoAsync(Verb.StoppedByGuest, () =>
    {
        lock (gate) return machines.GetValueOrDefault(id) is { On: false, ByGuest: true };
    }, cancel);

    public Task MakeDiskAsync(VmSpec vm, CancellationToken cancel) => DoAsync(Verb.MakeDisk, () =>
    {
        if (!vm.IsAdopted && images.Find(vm.ImageId, vm.ImageSha256) is null)
            throw new HypervisorException($"The image {vm.ImageId} is not on this host.", final: true);
        lock (gate)
        {
            if (!Has(machines.GetValueOrDefault(vm.Id), vm.Disk))
            {
                if (vm.HasRun) throw HypervisorException.LostDisk(vm.Id);
                if (full) throw new HypervisorException("The host's disk is full.", final: true);
                disksMade.AddOrUpdate(StorageXml.Stem(vm.Id, vm.Disk), 1, (_, n) => n + 1);
                AddDisk(vm);
            }
            MakeRescue(vm);
        }
        return true;
    }, cancel);

    public Task DefineAsync(VmSpec vm, CancellationToken cancel) => DoAsync(Verb.Define, () =>
    {
        Change(vm.Id, m => m with { Defined = true });
        return true;
    }, cancel);

    public Task StartAsync(VmSpec vm, CancellationToken cancel) => DoAsync(Verb.Start, () =>
    {
        var changed = Change(vm.Id, m => Has(m, vm.Disk) && HasRescue(m, vm) && m.Defined
            ? m.On ? m : Boot(Insert(m, vm.Disk), vm) with
            {
                On = true,
                ByGuest = false,
                StartedAt = time.GetUtcNow(),
                Paused = full,
            }
            : throw new HypervisorException("There is no such machine to start.", final: false));
        Firewalls[vm.Id] = vm.Firewall;
        Further[vm.Id] = vm.Further;
        if (changed) changes.Writer.TryWrite(vm.Id);
        return true;
    }, cancel);

    public Task ShutdownAsync(string id, CancellationToken cancel) => DoAsync(Verb.Shutdown, () =>
    {
        lock (gate)
        {
            if (!GuestListens || machines.GetValueOrDefault(id) is { On: true, Paused: true }) return false;
        }
        TurnOff(id, byGuest: true);
        return true;
    }, cancel);

    public Task TurnOffAsync(string id, CancellationToken cancel) => DoAsync(Verb.TurnOff, () =>
    {
        TurnOff(id);
        return true;
    }, cancel);

    void TurnOff(string id, bool byGuest = false)
    {
        lock (gate)
        {
            if (!machines.ContainsKey(id)) return;
        }
        Change(id, m => m with { On = false, ByGuest = m.On ? byGuest : m.ByGuest });
        CloseConsole(id);
        CloseScreen(id);
        changes.Writer.TryWrite(id);
    }

    public Task RemoveAsync(string id, CancellationToken cancel) => DoAsync(Verb.Remove, () =>
    {
        lock (gate)
        {
            if (machines.Remove(id, out var removed)) Save();
            Firewalls.TryRemove(id, out _);
            Further.TryRemove(id, out _);
            if (removed is { TakenFrom.Length: > 0 }) GiveBack(removed.TakenFrom);
            foreach (var disk in disksMade.Keys.Where(d => d.Split('.')[0] == id)) disksMade.TryRemove(disk, out _);
        }
        changes.Writer.TryWrite(id);
        return true;
    }, cancel);

    public Task<string> ConsoleTailAsync(string id, int maxBytes, CancellationToken cancel) =>
        DoAsync(Verb.Console, () =>
        {
            lock (gate)
            {
                if (!machines.TryGetValue(id, out var machine) || machine.StartedAt is null) return "";
                return "A simulated machine boots.\n" + (Booted(machine)
                    ? $"{KeySetOf(machine)}-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 {HostKeyOf(machine)} {id}\n"
                        + $"-----END SSH HOST KEY KEYS-----\n{id} login: "
                    : "");
            }
        }, cancel, lie: "");

    public Task<Stream> DialAsync(IPAddress address, int port, CancellationToken cancel) =>
        DoAsync<Stream>(Verb.Dial, () =>
        {
            // All machines share one port 22: its banner does not depend on the machine.
            lock (gate)
            {
                if (!SshAnswers || !machines.Values.Any(Booted))
                    throw new HypervisorException("Connection refused.", final: false);
            }
            if (port != 22) return Serve(port);
            return new MemoryStream(Encoding.ASCII.GetBytes("SSH-2.0-Simulated\r\n"), writable: false);
        }, cancel, lie: Stream.Null);

    public IRelays MakeRelays(ILogger log) =>
        RelaysListen ? new Relays(settings, DialAsync, DialUdpAsync, log) : new PretendedRelays(settings);

    bool Booted(Machine machine) => machine is { On: true, Paused: false, StartedAt: { } at }
        && time.GetUtcNow() - at >= BootTime;

    /// <summary>Returns whether it differs from before; only then it is written.</summary>
    bool Change(string id, Func<Machine, Machine> change)
    {
        lock (gate)
        {
            var before = machines.GetValueOrDefault(id);
            var after = change(before ?? new Machine(false, false, false, NewContent(), null));
            if (after == before) return false;
            machines[id] = after;
            Save();
            return true;
        }
    }

    static Content NewContent() => new(Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8)), 0,
        HostKey(RandomNumberGenerator.GetBytes(HostKeyBytes)));

    void Save()
    {
        File.WriteAllText(file + ".new", JsonSerializer.Serialize(machines));
        File.Move(file + ".new", file, overwrite: true);
    }

    public const int HostKeyBytes = 32;

    /// <summary>A key blob in the right format (RFC 8709: the name and 32 bytes); there is no private key.</summary>
    public static string HostKey(byte[] key) =>
        Convert.ToBase64String([0, 0, 0, 11, .. "ssh-ed25519"u8, 0, 0, 0, HostKeyBytes, .. key]);

    async Task<T> DoAsync<T>(Verb verb, Func<T> act, CancellationToken cancel, T? lie = default,
        bool endsWithCaller = false)
    {
        cancel.ThrowIfCancellationRequested();
        if (!faults.TryGetValue(verb, out var queue) || !queue.TryDequeue(out var fault)) fault = Chance?.Invoke(verb);
        if (fault is null) return act();
        switch (fault.Kind)
        {
            case FaultKind.Slow:
                // The call takes effect even if the caller has gone by then, unless the caller itself does it.
                if (!endsWithCaller) return await ActLateAsync(fault.By, act).WaitAsync(cancel);
                await Task.Delay(fault.By, time, cancel);
                return act();
            case FaultKind.Fail:
                throw new HypervisorException(fault.Message, final: false);
            case FaultKind.FailFinal:
                throw new HypervisorException(fault.Message, final: true);
            case FaultKind.Hang:
                await Task.Delay(fault.By, time, cancel);
                throw new HypervisorException("The hypervisor does not respond.", final: false) { Unreachable = true };
            case FaultKind.Lie:
                return lie!;
            case FaultKind.LoseAnswer:
                act();
                throw new HypervisorException("The result was lost.", final: false);
            default:
                throw new InvalidOperationException(fault.Kind.ToString());
        }
    }

    async Task<T> ActLateAsync<T>(TimeSpan by, Func<T> act)
    {
        await Task.Delay(by, time);
        return act();
    }

    public ValueTask DisposeAsync()
    {
        changes.Writer.TryComplete();
        return ValueTask.CompletedTask;
    }
}
