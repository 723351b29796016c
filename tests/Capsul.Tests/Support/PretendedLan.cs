using Capsul.Foundation;

namespace Capsul.Tests.Support;

/// <summary>
/// Three network namespaces: a machine with a bridge, the router of its network, which also has a DHCP server, a
/// resolver and router advertisements, and a web server behind the router. Nothing in them reaches a real network.
/// </summary>
public sealed class PretendedLan : IAsyncDisposable
{
    public const string Router = "192.0.2.1", Machine = "192.0.2.2", Machine6 = "2001:db8:7::2";

    /// <summary>Outside: a web server, and its name.</summary>
    public const string Web = "203.0.113.80", Web6 = "2001:db8:80::80", Name = "web.example";

    static int made;
    readonly string folder = Directory.CreateTempSubdirectory("capsul-lan-").FullName;
    readonly CancellationTokenSource stop = new();
    readonly List<Task> programs = [];
    readonly string machine, router, outside;

    PretendedLan()
    {
        var name = $"{Environment.ProcessId}-{Interlocked.Increment(ref made)}";
        (machine, router, outside) = ($"capsul-b{name}", $"capsul-r{name}", $"capsul-o{name}");
    }

    /// <summary>The namespace of the machine.</summary>
    public string MachineNetwork => $"/run/netns/{machine}";

    /// <summary>The namespace behind the router.</summary>
    public string OutsideNetwork => $"/run/netns/{outside}";

    /// <summary>The address that the router's DHCP server has given; empty: none yet.</summary>
    public string LeaseOf(string mac) => File.Exists(Leases)
        && File.ReadLines(Leases).Select(l => l.Split(' ')).LastOrDefault(w => w is [_, var of, ..] && of == mac)
            is [_, _, var address, ..] ? address : "";

    string Leases => Path.Combine(folder, "leases");

    const string SetUp = """
        machine=$1 router=$2 outside=$3
        for name in "$@"; do ip netns add "$name"; ip -n "$name" link set lo up; done
        ip -n "$machine" link add eth0 type veth peer name lan netns "$router"
        ip -n "$router" link add wan type veth peer name wan netns "$outside"
        ip netns exec "$router" sh -ec 'echo 1 >/proc/sys/net/ipv4/ip_forward
            echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
        ip -n "$router" address add 192.0.2.1/24 dev lan
        ip -n "$router" address add 2001:db8:7::1/64 dev lan nodad
        ip -n "$router" address add 203.0.113.1/24 dev wan
        ip -n "$router" address add 2001:db8:80::1/64 dev wan nodad
        ip -n "$outside" address add 203.0.113.80/24 dev wan
        ip -n "$outside" address add 2001:db8:80::80/64 dev wan nodad
        for name in lan wan; do ip -n "$router" link set "$name" up; done
        ip -n "$outside" link set wan up
        ip -n "$outside" route add default via 203.0.113.1
        ip -n "$outside" -6 route add default via 2001:db8:80::1
        ip -n "$machine" link set eth0 up
        """;

    /// <summary>As a distribution makes it from its files.</summary>
    const string Bridge = """
        ip link add br0 type bridge
        echo 0 >/proc/sys/net/ipv6/conf/br0/accept_ra
        echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
        ip link set eth0 master br0
        ip address add 192.0.2.2/24 dev br0
        ip address add 2001:db8:7::2/64 dev br0 nodad
        ip link set br0 up
        ip route add default via 192.0.2.1
        """;

    public static async Task<PretendedLan> MakeAsync(CancellationToken cancel)
    {
        var made = new PretendedLan();
        await new Command("bash", "-ec", SetUp, "bash", made.machine, made.router, made.outside).RunAsync(cancel);
        await made.MakeBridgeAsync(cancel);
        made.Run(made.router, "dnsmasq", "--keep-in-foreground", "--conf-file=", "--no-resolv", "--no-hosts",
            "--user=root", "--bind-interfaces", "--interface=lan", "--except-interface=lo", "--pid-file=",
            $"--dhcp-leasefile={made.Leases}", "--dhcp-range=192.0.2.200,192.0.2.210", "--enable-ra",
            "--dhcp-range=2001:db8:7::,ra-only", $"--address=/{Name}/{Web}", $"--address=/{Name}/{Web6}");
        await made.ServeAsync(made.outside, 80, "the internet");
        await made.ServeAsync(made.outside, 25, "mail");
        await made.ServeAsync(made.machine, 80, "the machine");
        return made;
    }

    public Task<string> MakeBridgeAsync(CancellationToken cancel) => MachineAsync(cancel, "sh", "-ec", Bridge);

    /// <summary>What a program on the machine says.</summary>
    public Task<string> MachineAsync(CancellationToken cancel, params string[] words) =>
        InAsync(machine, cancel, words);

    public Task<string> RouterAsync(CancellationToken cancel, params string[] words) => InAsync(router, cancel, words);

    public Task<string> OutsideAsync(CancellationToken cancel, params string[] words) =>
        InAsync(outside, cancel, words);

    /// <summary>Rules of nftables for what arrives at the router.</summary>
    public Task WatchAsync(string rules, CancellationToken cancel) =>
        (new Command("nsenter", $"--net=/run/netns/{router}", "--", "nft", "-f", "-") with { Input = rules })
            .RunAsync(cancel);

    static async Task<string> InAsync(string network, CancellationToken cancel, string[] words)
    {
        var result = await new Command("nsenter", [$"--net=/run/netns/{network}", "--", .. words]).TryRunAsync(cancel);
        return result.Output + result.Error;
    }

    /// <summary>A web server on all addresses of a namespace whose every answer is one word.</summary>
    async Task ServeAsync(string network, int port, string says)
    {
        var root = Directory.CreateDirectory(Path.Combine(folder, $"{network}-{port}")).FullName;
        await File.WriteAllTextAsync(Path.Combine(root, "index.html"), says);
        Run(network, "busybox", "httpd", "-f", "-p", $"[::]:{port}", "-h", root);
    }

    void Run(string network, string program, params string[] arguments) => programs.Add(
        new Command("nsenter", [$"--net=/run/netns/{network}", "--", program, .. arguments])
        { Timeout = TimeSpan.FromHours(1) }.TryRunAsync(stop.Token));

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await Task.WhenAll(programs).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var name in (string[])[machine, router, outside])
            await new Command("ip", "netns", "delete", name).TryRunAsync(CancellationToken.None);
        Directory.Delete(folder, recursive: true);
        stop.Dispose();
    }
}
