using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Link;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Chaos;

/// <summary>Ports that nobody listens on: no invariant depends on them.</summary>
sealed class PretendedRelays : IRelays
{
    public string PublicName => "127.0.0.1";

    public (int First, int Last)? ForwardPorts => (1, 65535);

    public Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel) =>
        Task.FromResult(preferred > 0 ? preferred : 22000);

    /// <summary>What leads to each VM besides.</summary>
    public Dictionary<string, IReadOnlyList<Forward>> Forwarded { get; } = new(StringComparer.Ordinal);

    public Task<IReadOnlyList<int>> ForwardAsync(
        string id, IReadOnlyList<Forward> forwards, IPAddress target, CancellationToken cancel)
    {
        Forwarded[id] = forwards;
        return Task.FromResult<IReadOnlyList<int>>([]);
    }

    public Task CloseAsync(string id, CancellationToken cancel)
    {
        Forwarded.Remove(id);
        return Task.CompletedTask;
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}

/// <summary>
/// A host of the world: the machine (<see cref="Simulated"/> and the data folder, which outlive everything), the Spoke
/// on it while it runs, and its connection to the Hub while there is one.
/// </summary>
sealed class Host
{
    readonly Settings settings;
    readonly ImageStore images;
    readonly VirtualTime time;

    public Host(string name, string folder, Image image, ImageStore images, VirtualTime time)
    {
        (Name, Image, this.images, this.time) = (name, image, images, time);
        settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = Directory.CreateDirectory(Path.Combine(folder, name)).FullName,
            ["CAPSUL_HYPERVISOR"] = "simulated",
        });
        Hypervisor = new Simulated(settings, images, time) { BootTime = TimeSpan.FromSeconds(2), MemoryMb = 8 * 512 };
    }

    public string Name { get; }

    public Image Image { get; }

    public Simulated Hypervisor { get; private set; }

    /// <summary>Null while the Spoke is not running.</summary>
    public HostVms? Vms { get; private set; }

    public AppliedState Applied { get; private set; } = null!;

    /// <summary>The Hub's end; null while there is no connection.</summary>
    public SpokeConnection? Connection { get; set; }

    public List<SpokeMessage> Up { get; } = [];

    public List<HubMessage> Down { get; } = [];

    public DateTime NextDial { get; set; }

    public DateTime NextBeat { get; set; }

    /// <summary>Something may have changed in the database that this host must be sent.</summary>
    public bool Stale { get; set; }

    /// <summary>The Spoke is querying its hypervisor for a report to the Hub; that may take long.</summary>
    public Task Asking { get; set; } = Task.CompletedTask;

    /// <summary>
    /// When the next round of each reconciler is due at the latest; unfinished rounds are in <see cref="Rounds"/>.
    /// </summary>
    public Dictionary<VmReconciler, DateTime> Due { get; } = [];

    public Dictionary<VmReconciler, Task<TimeSpan?>> Rounds { get; } = [];

    /// <summary>Canceled with the Spoke: nothing that its code was doing continues after a kill.</summary>
    public CancellationToken Alive => alive.Token;

    CancellationTokenSource alive = new();

    /// <summary>Those of the Spoke that was started last.</summary>
    public PretendedRelays Relays { get; private set; } = new();

    /// <summary>The way of disks to other hosts.</summary>
    public ITransfers? Transfers { get; set; }

    public async Task StartSpokeAsync(CancellationToken cancel)
    {
        await Hypervisor.PrepareAsync(cancel);
        var spoke = Path.Combine(settings.Data, "spoke");
        Applied = new AppliedState(spoke);
        Applied.Load();
        var records = new VmRecords(Path.Combine(spoke, "vms"), NullLogger.Instance);
        Relays = new PretendedRelays();
        Vms = new HostVms(Hypervisor, records, Relays, Applied, time, NullLogger.Instance)
        {
            Told = report =>
            {
                if (Connection is not null) Up.Add(new SpokeMessage { Vm = report.Clone() });
            },
        };
        Vms.Transfers = Transfers;
        Vms.Load();
        NextDial = NextBeat = time.Now;
    }

    /// <summary>Like kill -9: whatever it was doing stays half done, on the machine and on disk.</summary>
    public void KillSpoke()
    {
        Vms = null;
        alive.Cancel();
        alive = new();
        Asking = Task.CompletedTask;
        Disconnect();
        Due.Clear();
        Rounds.Clear();
    }

    public void Disconnect()
    {
        Connection = null;
        Up.Clear();
        Down.Clear();
    }

    /// <summary>The token of the last welcome: in the message, and on disk once the Spoke has read it.</summary>
    public byte[]? Offered { get; set; }

    byte[] token = [];

    /// <summary>The welcome comes before the first wanted states, so its token is on disk by now.</summary>
    public void Acknowledge(Wanted wanted)
    {
        token = Offered ?? token;
        Up.Add(new SpokeMessage
        {
            Applied = new Applied { Epoch = wanted.Epoch, Generation = wanted.Generation, TokenStored = true },
        });
    }

    public Hello Hello() => new()
    {
        Protocol = Protocol.Version,
        Version = "0.0.0",
        Token = ByteString.CopyFrom(token),
        Facts = new HostFacts
        {
            Hypervisor = "simulated",
            Cpus = 4,
            MemoryMb = Hypervisor.MemoryMb,
            DiskMb = 1_000_000,
            DiskFreeMb = 1_000_000,
            MovesDisks = true,
            MakesDisksAnew = true,
            Rescues = true,
            RenewsSeeds = true,
            ForwardsUdp = true,
            GivesMoreAddresses = true,
            // One host has fewer ports than its VMs may want.
            ForwardFirst = 31000,
            ForwardLast = Name.EndsWith('1') ? 31009 : 31002,
            Network = new NetworkFacts
            {
                Cidr = "203.0.113.0/28",
                Gateway = "203.0.113.1",
                First = "203.0.113.2",
                Last = "203.0.113.14",
            },
            Images = { new ImageFacts
            {
                Id = Image.Id, Title = Image.Title, Sha256 = Image.Sha256, LoginUser = Image.LoginUser, MinDiskGb = 1,
            } },
        },
    };

    public void Clear()
    {
        KillSpoke();
        Hypervisor =
            new Simulated(settings, images, time) { BootTime = Hypervisor.BootTime, MemoryMb = Hypervisor.MemoryMb };
        var spoke = Path.Combine(settings.Data, "spoke");
        if (Directory.Exists(spoke)) Directory.Delete(spoke, recursive: true);
        (Stale, NextDial, NextBeat, Offered, token) = (false, default, default, null, []);
    }
}
