using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Text.Json;
using Capsul.Foundation;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The guests' way out of the sandbox. In private mode a helper, pasta, gives the sandbox an interface whose
/// connections it makes with ordinary sockets of this machine, so nothing of the machine's network or firewall is
/// changed. It runs in the sandbox's process namespace: it outlives the Spoke, and the kernel ends it with the sandbox.
/// In routed and nat mode the interface is one end of an <see cref="Uplink"/>. Whoever keeps the way out (the Spoke,
/// and the relay process) makes again what has gone. All rules are in the sandbox's network
/// (<see cref="WayOutRules"/>).
/// </summary>
public sealed class WayOut(Sandbox sandbox, TimeProvider time, ILogger log)
{
    static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(10), Poll = TimeSpan.FromSeconds(1),
        Short = TimeSpan.FromMilliseconds(20), Limit = TimeSpan.FromSeconds(10);

    /// <summary>All is checked at this interval; whether the helper runs, more often.</summary>
    const int PollsPerCheck = 10;

    /// <summary>
    /// Its resolver is the one that it finds in /etc/resolv.conf, and the sandbox's network must be a file that it can
    /// open after it has dropped its rights. Its own mount namespace, because helpers of this kind make the file system
    /// empty for themselves. It does not start with an ignored SIGPIPE, which is what .NET leaves to its children.
    /// </summary>
    const string Start = """
        mount --bind "$1" /etc/resolv.conf
        mount --bind "$2" "$3"
        exec >"$4" 2>&1
        shift 4
        exec env --default-signal=PIPE "$@"
        """;

    /// <summary>
    /// The sandbox forwards. Where the kernel passes bridged packets to the rules for routed ones (br_netfilter), that
    /// is turned off: guests on the bridge would not reach each other.
    /// </summary>
    const string Forward = """
        echo 1 >/proc/sys/net/ipv4/ip_forward
        [ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
        for file in /proc/sys/net/bridge/bridge-nf-call-*tables; do [ ! -e "$file" ] || echo 0 >"$file"; done
        """;

    string applied = "", listed = "";

    /// <summary>What is wanted, as the Spoke that was started last has stored it.</summary>
    /// <param name="Gateway">The sandbox's address in the VMs' network.</param>
    /// <param name="Resolver">Address of the guests' resolver, or auto.</param>
    /// <param name="Outside">The network namespace of the machine; null: this one.</param>
    sealed record Plan(bool IsOpen, string Gateway, string Resolver, bool Mail, string? Outside)
    {
        /// <summary>The VMs' networks that the machine routes; none: private mode.</summary>
        public IReadOnlyList<string> Routed { get; init; } = [];

        /// <summary>Those of them that are translated to the machine's addresses.</summary>
        public IReadOnlyList<string> Translated { get; init; } = [];

        public bool IsPrivate => Routed.Count == 0;
    }

    /// <summary>The running helper.</summary>
    /// <param name="Pid">Process ID of what started it and ends with it.</param>
    /// <param name="Ticks">When that started.</param>
    /// <param name="Resolver">The resolver that it was started with; empty if it needs none.</param>
    sealed record Started(int Pid, ulong Ticks, string Resolver, string? Outside);

    const string PlanName = "way-out.json";
    string PlanFile => Path.Combine(sandbox.RunFolderInUse, PlanName);
    string HelperFile => Path.Combine(sandbox.RunFolderInUse, "way-out-helper.json");
    string PidFile => Path.Combine(sandbox.RunFolderInUse, "way-out.pid");
    string OutputFile => Path.Combine(sandbox.RunFolderInUse, "way-out.log");
    string LockFile => Path.Combine(sandbox.RunFolderInUse, "way-out.lock");

    /// <summary>Whether the sandbox is connected in routed or nat mode.</summary>
    public Task<bool> IsConnectedAsync(CancellationToken cancel) =>
        Uplink(sandbox.RunFolderInUse, Read<Plan>(PlanFile)).IsThereAsync(cancel);

    /// <summary>Whether the helper runs.</summary>
    public bool IsRunning => Read<Started>(HelperFile) is { } helper && Sandbox.Ticks(helper.Pid) == helper.Ticks;

    /// <summary>Stores what is wanted, and brings it about.</summary>
    /// <param name="outside">The network namespace of the machine; null: this one.</param>
    public async Task OpenAsync(Settings settings, IPAddress gateway, string? outside, CancellationToken cancel)
    {
        var plan = new Plan(settings.Outbound, gateway.ToString(), settings.VmResolver, settings.OutboundMail, outside)
        {
            Routed = [.. settings.RoutedNetworks.Select(n => n.ToString())],
            Translated = [.. settings.TranslatedNetworks.Select(n => n.ToString())],
        };
        await DataFolder.WriteWholeAsync(PlanFile, JsonSerializer.SerializeToUtf8Bytes(plan), cancel);
        await sandbox.Inside("sh", "-ec", Forward).RunAsync(cancel);
        FileStream? held;
        while ((held = TryLock()) is null) await Task.Delay(Short, time, cancel);
        await using (held) await EnsureLockedAsync(cancel);
    }

    /// <summary>Keeps it as it is wanted, until canceled or the sandbox has ended.</summary>
    public async Task KeepAsync(CancellationToken cancel)
    {
        var changed = new Signal();
        NetworkAddressChangedEventHandler look = (_, _) => changed.Set();
        NetworkChange.NetworkAddressChanged += look;
        var said = "";
        var polls = 0;
        try
        {
            while (sandbox.IsAlive)
            {
                if (polls == 0 || (said.Length == 0 && !IsRunning
                    && Read<Plan>(PlanFile) is { IsOpen: true, IsPrivate: true }))
                {
                    said = await TryEnsureAsync(said, cancel);
                    polls = PollsPerCheck;
                }
                // An address that the machine has only now must not be reached for long.
                polls = await changed.WaitAsync(Poll, time, cancel) ? 0 : polls - 1;
            }
        }
        finally
        {
            NetworkChange.NetworkAddressChanged -= look;
        }
    }

    /// <summary>Returns the problem, which is logged once; empty if there is none.</summary>
    async Task<string> TryEnsureAsync(string said, CancellationToken cancel)
    {
        try
        {
            await EnsureAsync(cancel);
            return "";
        }
        catch (Exception error) when (error is ProblemException or IOException)
        {
            if (said != error.Message) Log.NoWayOut(log, error.Message);
            return error.Message;
        }
    }

    /// <summary>Brings it about; does nothing while another process does.</summary>
    /// <exception cref="ProblemException">Unavailable: it cannot be done now.</exception>
    public async Task EnsureAsync(CancellationToken cancel)
    {
        if (TryLock() is not { } held) return;
        await using (held) await EnsureLockedAsync(cancel);
    }

    async Task EnsureLockedAsync(CancellationToken cancel)
    {
        if (Read<Plan>(PlanFile) is not { } plan) return;
        var machine = await AddressesAsync(plan, cancel);
        var resolver = Resolver(plan);
        var isLocal = plan.IsPrivate && resolver is not null
            && (IPAddress.IsLoopback(resolver) || machine.Contains(resolver));
        // The rules first: there is no moment at which guests could get out without them.
        await ApplyAsync(WayOutRules.Write(IPAddress.Parse(plan.Gateway),
            isLocal ? WayOutRules.LocalResolver : resolver, machine, plan.IsOpen, plan.Mail,
            plan.IsPrivate ? null : [.. plan.Routed.Except(plan.Translated).Select(IPNetwork.Parse)]), cancel);
        await ConnectAsync(plan, machine, cancel);
        var needs = isLocal ? resolver!.ToString() : "";
        if (IsRunning && plan is { IsOpen: true, IsPrivate: true } && Read<Started>(HelperFile) is { } helper
            && helper.Resolver == needs && helper.Outside == plan.Outside)
            return;
        await EndAsync(cancel);
        if (plan is { IsOpen: true, IsPrivate: true }) await StartAsync(plan, needs, cancel);
    }

    async Task ConnectAsync(Plan plan, HashSet<IPAddress> machine, CancellationToken cancel)
    {
        var uplink = Uplink(sandbox.RunFolderInUse, plan);
        if (plan.IsPrivate)
        {
            await uplink.RemoveAsync(cancel);
            return;
        }
        IReadOnlyList<IPNetwork> routed = [.. plan.Routed.Select(IPNetwork.Parse)];
        // A route to it would take the place of the machine's own.
        if (Overlap(machine, routed) is { Length: > 0 } overlap)
            throw new ProblemException(ProblemKind.Unavailable, $"VMs are not connected: {overlap}.");
        await EndAsync(cancel);
        await uplink.EnsureAsync(sandbox, routed, [.. plan.Translated.Select(IPNetwork.Parse)], cancel);
    }

    static string Overlap(IEnumerable<IPAddress> machine, IEnumerable<IPNetwork> networks) =>
        (from network in networks
         from own in machine
         where network.Contains(own)
         select $"{own} is an address of this machine, and VMs cannot have {network} too").FirstOrDefault("");

    static Uplink Uplink(string folder, Plan? plan) =>
        new(folder, (program, arguments) => Outside(plan, program, arguments));

    /// <summary>What the machine has of it, whether the sandbox is there or not.</summary>
    /// <param name="folder">The sandbox's run folder.</param>
    internal static async Task RemoveAsync(string folder, CancellationToken cancel)
    {
        var plan = Read<Plan>(Path.Combine(folder, PlanName));
        // With a network everything in it has gone.
        if (plan?.Outside is null || File.Exists(plan.Outside)) await Uplink(folder, plan).RemoveAsync(cancel);
    }

    /// <summary>What would stand in the way of routing; empty: nothing.</summary>
    /// <param name="folder">The run folder of the sandbox, whether there is one or not.</param>
    internal static async Task<string> ObstacleAsync(Settings settings, string folder, CancellationToken cancel)
    {
        var plan = Read<Plan>(Path.Combine(folder, PlanName));
        var machine = await AddressesAsync(plan, cancel);
        if (Overlap(machine, settings.RoutedNetworks) is { Length: > 0 } overlap) return overlap;
        var closed = await Uplink(folder, plan).ClosedChainsAsync(cancel);
        return closed.Count == 0 ? "" : "this machine's firewall drops what it forwards "
            + $"({string.Join("; ", closed)}): it must accept what comes from and goes to interfaces capsul-*";
    }

    FileStream? TryLock()
    {
        try
        {
            return new FileStream(LockFile, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null;
        }
    }

    async Task ApplyAsync(string rules, CancellationToken cancel)
    {
        if (rules == applied && await ListAsync(cancel) == listed) return;
        if (rules == applied) Log.WayOutRulesGone(log);
        await (sandbox.Inside("nft", "-f", "-") with { Input = rules + WayOutCounters.Rules }).RunAsync(cancel);
        listed = await ListAsync(cancel);
        applied = rules;
    }

    async Task<string> ListAsync(CancellationToken cancel) =>
        (await sandbox.Inside("nft", "-s", "list", "table", "inet", WayOutRules.Table).TryRunAsync(cancel)).Output;

    /// <summary>All addresses of the outside machine.</summary>
    static async Task<HashSet<IPAddress>> AddressesAsync(Plan? plan, CancellationToken cancel)
    {
        var result = await Outside(plan, "ip", "-j", "address", "show").RunAsync(cancel);
        using var json = JsonDocument.Parse(result.Output);
        return [.. from card in json.RootElement.EnumerateArray()
                   where card.TryGetProperty("addr_info", out _)
                   from address in card.GetProperty("addr_info").EnumerateArray()
                   where address.TryGetProperty("local", out _)
                   select IPAddress.Parse(address.GetProperty("local").GetString()!)];
    }

    /// <summary>A program with the sockets of the outside.</summary>
    static Command Outside(Plan? plan, string program, params string[] arguments) => (plan?.Outside is null
        ? new Command(program, arguments)
        : new Command("nsenter", [$"--net={plan.Outside}", "--", program, .. arguments])) with
    { Timeout = Limit };

    /// <summary>
    /// As configured, or this machine's first one; null if there is none. IPv4 only. Packets that are routed do not
    /// reach a loopback, so the resolvers that systemd-resolved asks are used instead of its own.
    /// </summary>
    static IPAddress? Resolver(Plan plan)
    {
        if (plan.Resolver != "auto") return IPAddress.Parse(plan.Resolver);
        var own = FirstResolver("/etc/resolv.conf");
        return own is null || plan.IsPrivate || !IPAddress.IsLoopback(own) ? own
            : FirstResolver("/run/systemd/resolve/resolv.conf") is { } next && !IPAddress.IsLoopback(next) ? next
            : null;
    }

    static IPAddress? FirstResolver(string file) => !File.Exists(file) ? null : File.ReadLines(file)
        .Select(l => l.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries))
        .Where(w => w is ["nameserver", _, ..]).Select(w => IPAddress.TryParse(w[1], out var a) ? a : null)
        .FirstOrDefault(a => a is { AddressFamily: AddressFamily.InterNetwork });

    async Task StartAsync(Plan plan, string resolver, CancellationToken cancel)
    {
        var conf = Path.Combine(sandbox.RunFolderInUse, "resolv.conf");
        var network = Path.Combine(sandbox.RunFolderInUse, "way-out.net");
        await File.WriteAllTextAsync(conf, resolver.Length > 0 ? $"nameserver {resolver}\n" : "", cancel);
        await File.WriteAllTextAsync(network, "", cancel);
        File.Delete(PidFile);
        string[] outside = plan.Outside is null ? [] : [$"--net={plan.Outside}"];
        // None of the machine's ports lead into the sandbox, and none of the sandbox's, nor its gateway, to the
        // machine's loopback.
        await new Command("start-stop-daemon", ["--start", "--background", "--pidfile", PidFile, "--make-pidfile",
            "--startas", "/usr/bin/nsenter", "--", $"--pid=/proc/{sandbox.Pid}/ns/pid", .. outside, "--",
            "unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", Start, "sh", conf,
            $"/proc/{sandbox.Pid}/ns/net", network, OutputFile,
            "pasta", "--foreground", "--netns-only", "--netns", network, "--no-netns-quit",
            "--runas", "0:0", "--quiet", "--config-net", "--ns-ifname", WayOutRules.Interface,
            "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
            "--no-map-gw", .. resolver.Length > 0
                ? (string[])["--dns-forward", WayOutRules.LocalResolver.ToString()] : []])
        { Timeout = StartLimit }.RunAsync(cancel);
        var helper = await AwaitAsync(plan, resolver, cancel);
        await DataFolder.WriteWholeAsync(HelperFile, JsonSerializer.SerializeToUtf8Bytes(helper), cancel);
        Log.OpenedWayOut(log);
    }

    /// <summary>Waits until the interface has its address.</summary>
    async Task<Started> AwaitAsync(Plan plan, string resolver, CancellationToken cancel)
    {
        var began = time.GetTimestamp();
        while (time.GetElapsedTime(began) < StartLimit)
        {
            await Task.Delay(Short, time, cancel);
            if (!File.Exists(PidFile)
                || !int.TryParse((await File.ReadAllTextAsync(PidFile, cancel)).Trim(), out var pid)) continue;
            if (Sandbox.Ticks(pid) is not { } ticks) break;
            var address = await sandbox.Inside("ip", "-o", "address", "show", "dev", WayOutRules.Interface,
                "scope", "global").TryRunAsync(cancel);
            if (address.Output.Length > 0) return new Started(pid, ticks, resolver, plan.Outside);
        }
        var output = File.Exists(OutputFile) ? await File.ReadAllTextAsync(OutputFile, cancel) : "";
        // Without a system log it says so for each line.
        var said = output.Split('\n')
            .LastOrDefault(l => l.Length > 0 && !l.EndsWith("syslog", StringComparison.Ordinal));
        throw new ProblemException(ProblemKind.Unavailable, "VMs have no way out of this host: the helper (pasta, "
            + $"package passt) did not start{(said is null ? "" : $" (\"{said}\")")}. It needs a default route.");
    }

    /// <summary>Ends the helper; the process that started it does not pass signals on.</summary>
    async Task EndAsync(CancellationToken cancel)
    {
        if (Read<Started>(HelperFile) is not { } helper || Sandbox.Ticks(helper.Pid) != helper.Ticks) return;
        var children = await File.ReadAllTextAsync($"/proc/{helper.Pid}/task/{helper.Pid}/children", cancel);
        await new Command("kill", ["-KILL", .. children.Split(' ', StringSplitOptions.RemoveEmptyEntries),
            helper.Pid.ToString()])
        { Timeout = Limit }.TryRunAsync(cancel);
        while (Sandbox.Ticks(helper.Pid) == helper.Ticks) await Task.Delay(Short, time, cancel);
    }

    static T? Read<T>(string file) where T : class
    {
        try
        {
            return File.Exists(file) ? JsonSerializer.Deserialize<T>(File.ReadAllText(file)) : null;
        }
        catch (Exception error) when (error is JsonException or IOException)
        {
            return null;
        }
    }
}
