using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;

namespace Capsul.Tests.Support;

/// <summary>
/// Two network namespaces: one plays the machine on which a Spoke runs, the other the internet, with a resolver and web
/// servers. Nothing in them reaches a real network.
/// </summary>
public sealed class PretendedInternet : IAsyncDisposable
{
    /// <summary>In the internet: the resolver, and a web server that is reached by its name.</summary>
    public const string Resolver = "198.51.100.1", Web = "203.0.113.80", Web6 = "2001:db8:80::80",
        Name = "web.example";

    /// <summary>The machine's addresses, and the resolver on its loopback.</summary>
    public const string Machine = "198.51.100.2", MachineToo = "198.51.100.3", Machine6 = "2001:db8:1::2",
        LocalResolver = "127.0.0.53";

    static int made;
    readonly string folder = Directory.CreateTempSubdirectory("capsul-internet-").FullName;
    readonly CancellationTokenSource stop = new();
    readonly List<Task> programs = [];
    readonly string machine, internet;

    PretendedInternet()
    {
        var name = $"{Environment.ProcessId}-{Interlocked.Increment(ref made)}";
        (machine, internet) = ($"capsul-m{name}", $"capsul-i{name}");
    }

    /// <summary>The namespace of the machine.</summary>
    public string MachineNetwork => $"/run/netns/{machine}";

    /// <summary>The namespace of the internet.</summary>
    public string OutsideNetwork => $"/run/netns/{internet}";

    const string SetUp = """
        machine=$1; internet=$2
        for name in "$machine" "$internet"; do ip netns add "$name"; ip -n "$name" link set lo up; done
        ip -n "$machine" link add wan type veth peer name wan netns "$internet"
        for name in "$machine" "$internet"; do ip -n "$name" link set wan up; done
        ip -n "$machine" address add 198.51.100.2/24 dev wan
        ip -n "$machine" address add 198.51.100.3/24 dev wan
        ip -n "$machine" address add 2001:db8:1::2/64 dev wan nodad
        ip -n "$internet" address add 198.51.100.1/24 dev wan
        ip -n "$internet" address add 2001:db8:1::1/64 dev wan nodad
        ip -n "$internet" address add 203.0.113.80/32 dev lo
        ip -n "$internet" address add 2001:db8:80::80/128 dev lo nodad
        ip -n "$machine" route add default via 198.51.100.1
        ip -n "$machine" -6 route add default via 2001:db8:1::1
        """;

    /// <summary>The provider routes a network to the machine.</summary>
    public Task RouteAsync(IPNetwork network, CancellationToken cancel) =>
        InternetAsync(cancel, "ip", "route", "add", network.ToString(), "via",
            network.BaseAddress.AddressFamily == AddressFamily.InterNetwork ? Machine : Machine6);

    /// <summary>What a program in the internet says.</summary>
    public Task<string> InternetAsync(CancellationToken cancel, params string[] words) =>
        InAsync(internet, cancel, words);

    /// <summary>What a program on the machine says.</summary>
    public Task<string> MachineAsync(CancellationToken cancel, params string[] words) =>
        InAsync(machine, cancel, words);

    static async Task<string> InAsync(string network, CancellationToken cancel, string[] words)
    {
        var result = await new Command("nsenter", [$"--net=/run/netns/{network}", "--", .. words]).TryRunAsync(cancel);
        return result.Output + result.Error;
    }

    public static async Task<PretendedInternet> MakeAsync(CancellationToken cancel)
    {
        var made = new PretendedInternet();
        await new Command("bash", "-ec", SetUp, "bash", made.machine, made.internet).RunAsync(cancel);
        made.Resolve(made.internet, Resolver);
        made.Resolve(made.machine, LocalResolver);
        await made.ServeAsync(made.internet, 80, "the internet");
        await made.ServeAsync(made.internet, 25, "mail");
        await made.ServeAsync(made.machine, 80, "the machine");
        return made;
    }

    /// <summary>A web server on all addresses of a namespace whose every answer is one word.</summary>
    async Task ServeAsync(string network, int port, string says)
    {
        var root = Directory.CreateDirectory(Path.Combine(folder, $"{network}-{port}")).FullName;
        await File.WriteAllTextAsync(Path.Combine(root, "index.html"), says);
        Run(network, "busybox", "httpd", "-f", "-p", $"[::]:{port}", "-h", root);
    }

    void Resolve(string network, string address) => Run(network, "dnsmasq", "--keep-in-foreground", "--conf-file=",
        "--no-resolv", "--no-hosts", "--user=root", "--bind-interfaces", $"--listen-address={address}",
        "--pid-file=", $"--address=/{Name}/{Web}", $"--address=/{Name}/{Web6}",
        $"--address=/only{address}.example/{Web}");

    void Run(string network, string program, params string[] arguments) => programs.Add(
        new Command("nsenter", [$"--net=/run/netns/{network}", "--", program, .. arguments])
        { Timeout = TimeSpan.FromHours(1) }.TryRunAsync(stop.Token));

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await Task.WhenAll(programs).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var name in (string[])[machine, internet])
            await new Command("ip", "netns", "delete", name).TryRunAsync(CancellationToken.None);
        Directory.Delete(folder, recursive: true);
        stop.Dispose();
    }
}
