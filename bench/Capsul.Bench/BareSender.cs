using System.Diagnostics;
using System.Net;
using Capsul.Cli;
using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Tests.Support;

namespace Capsul.Bench;

/// <summary>
/// The baseline: a bare QEMU whose tap is as near to the outside as a mode allows. In private mode it is in a namespace
/// from which pasta leads out; else on the machine, which forwards for it (routed), translates (nat), or has it in its
/// bridge (bridged).
/// </summary>
sealed class BareSender : IAsyncDisposable
{
    const string Tap = "bare0", Mac = "52:54:00:12:34:99", Own = "10.79.0.1", Guest = "10.79.0.2",
        GuestNetwork = "10.79.0.0/24";

    static readonly TimeSpan LeaseLimit = TimeSpan.FromMinutes(5), UpLimit = TimeSpan.FromSeconds(30);

    const string MakeTap = "ip tuntap add bare0 mode tap; ip link set bare0 up";
    const string Route = "ip address add 10.79.0.1/24 dev bare0; echo 1 >/proc/sys/net/ipv4/ip_forward";

    /// <summary>What is out of a connection's window is not the machine's: it would answer with a reset.</summary>
    const string Translate = "add table ip bare; add chain ip bare out { type nat hook postrouting priority 100; }; "
        + "add chain ip bare in { type filter hook input priority 0; }; "
        + $"add rule ip bare out ip saddr {GuestNetwork} masquerade; add rule ip bare in ct state invalid drop";

    readonly string folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
    readonly CancellationTokenSource stop = new();
    readonly List<Task> helpers = [];
    readonly IAsyncDisposable network;
    readonly string machine, own;
    Process? qemu;
    Sender sender = null!;

    BareSender(IAsyncDisposable network, string machine, string own) =>
        (this.network, this.machine, this.own) = (network, machine, own);

    public static async Task<BareSender> StartAsync(string mode, CancellationToken cancel)
    {
        BareSender made;
        if (mode == "bridged")
        {
            var lan = await PretendedLan.MakeAsync(cancel);
            made = new BareSender(lan, lan.MachineNetwork, lan.MachineNetwork);
            return await made.GuardAsync(async () =>
            {
                await made.InsideAsync(cancel, "sh", "-ec", MakeTap + "; ip link set bare0 master br0");
                await made.BootAsync(lan.OutsideNetwork, token => made.AwaitLeaseAsync(lan, token), cancel);
            });
        }
        var internet = await PretendedInternet.MakeAsync(cancel);
        var own = mode == "private" ? $"/run/netns/capsul-bare{Environment.ProcessId}" : internet.MachineNetwork;
        made = new BareSender(internet, internet.MachineNetwork, own);
        return await made.GuardAsync(async () =>
        {
            if (mode == "private") await made.OpenAsync(cancel);
            await made.InsideAsync(cancel, "sh", "-ec", $"{MakeTap}; {Route}");
            if (mode == "routed") await internet.RouteAsync(IPNetwork.Parse(GuestNetwork), cancel);
            else await made.InsideAsync(cancel, "nft", Translate);
            made.Help(own, "dnsmasq", "--keep-in-foreground", "--conf-file=", "--no-resolv", "--port=0",
                "--user=root", "--bind-interfaces", $"--interface={Tap}", "--pid-file=",
                $"--dhcp-leasefile={made.folder}/leases", $"--dhcp-range={Guest},{Guest},255.255.255.0");
            await made.BootAsync(internet.OutsideNetwork, _ => Task.FromResult(Guest), cancel);
        });
    }

    async Task<BareSender> GuardAsync(Func<Task> start)
    {
        try
        {
            await start();
            return this;
        }
        catch
        {
            await DisposeAsync();
            throw;
        }
    }

    /// <summary>A network of its own, from which pasta leads out as it does from a sandbox.</summary>
    async Task OpenAsync(CancellationToken cancel)
    {
        await new Command("ip", "netns", "add", Path.GetFileName(own)).RunAsync(cancel);
        await InsideAsync(cancel, "ip", "link", "set", "lo", "up");
        // .NET leaves an ignored SIGPIPE to its children, with which pasta does not start.
        Help(machine, "env", "--default-signal=PIPE", "pasta", "--foreground", "--netns-only", "--netns", own,
            "--no-netns-quit", "--runas", "0:0", "--quiet", "--config-net", "--ns-ifname", WayOutRules.Interface,
            "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none", "--no-map-gw");
        await Within.HoldsAsync(UpLimit, "The start of pasta", async token => (await InsideAsync(
            token, "ip", "-o", "-4", "address", "show", "scope", "global")).Length > 0, cancel);
    }

    async Task<string> AwaitLeaseAsync(PretendedLan lan, CancellationToken cancel)
    {
        await Within.HoldsAsync(LeaseLimit, "The lease of the bare guest",
            _ => Task.FromResult(lan.LeaseOf(Mac).Length > 0), cancel);
        return lan.LeaseOf(Mac);
    }

    async Task BootAsync(
        string outside, Func<CancellationToken, Task<string>> findAddress, CancellationToken cancel)
    {
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_IMAGES"] = DemoRun.ImageCache,
        });
        var images = new ImageStore(settings.Images);
        var image = await ImageVerb.EnsureAsync(images, TinyImage.Id, force: false, cancel);
        var key = Path.Combine(folder, "id");
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).RunAsync(cancel);
        var kvm = (await new KvmProbe(settings, TimeProvider.System).DecideAsync(cancel)).Use;
        var bare = new BareGuest(
            images, image, folder, await File.ReadAllTextAsync(key + ".pub", cancel), memoryMb: 256, kvm);
        await bare.PrepareAsync(cancel);
        qemu = bare.Start(["nsenter", $"--net={own}", "--"],
            ["-netdev", $"tap,id=n,ifname={Tap},script=no,downscript=no",
                "-device", $"virtio-net-pci,netdev=n,romfile=,mac={Mac}"]);
        var address = await findAddress(cancel);
        sender = new Sender(own, $"{image.LoginUser}@{address}", key, outside, PretendedInternet.Web);
        await sender.AwaitLoginAsync(cancel);
    }

    public Task<int> FindSizeAsync(CancellationToken cancel) => sender.FindSizeAsync(cancel);

    public Task<double> SendAsync(int megabytes, CancellationToken cancel) => sender.SendAsync(megabytes, cancel);

    /// <summary>A program that runs until the end.</summary>
    void Help(string where, string program, params string[] arguments) => helpers.Add(
        new Command("nsenter", [$"--net={where}", "--", program, .. arguments])
        { Timeout = TimeSpan.FromHours(1) }.TryRunAsync(stop.Token));

    async Task<string> InsideAsync(CancellationToken cancel, params string[] words) =>
        (await new Command("nsenter", [$"--net={own}", "--", .. words]).RunAsync(cancel)).Output;

    public async ValueTask DisposeAsync()
    {
        if (qemu is not null)
        {
            qemu.Kill();
            await qemu.WaitForExitAsync(CancellationToken.None);
            qemu.Dispose();
        }
        await stop.CancelAsync();
        await Task.WhenAll(helpers).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (own != machine)
            await new Command("ip", "netns", "delete", Path.GetFileName(own)).TryRunAsync(CancellationToken.None);
        await network.DisposeAsync();
        Directory.Delete(folder, recursive: true);
        stop.Dispose();
    }
}
