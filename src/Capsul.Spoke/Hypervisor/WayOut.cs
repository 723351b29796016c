using System.Net;
using System.Net.NetworkInformation;
using System.Text.Json;
using Capsul.Foundation;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The guests' way out of the sandbox. In private mode a helper, pasta, gives the sandbox an interface whose
/// connections it makes with ordinary sockets of this machine, so nothing of the machine's network or firewall is
/// changed. It runs in the sandbox's process namespace: it outlives the Spoke, and the kernel ends it with the sandbox.
/// In routed and nat mode the interface is one end of an <see cref="Uplink"/>, in bridged mode of a
/// <see cref="BridgePort"/>, and no packet is routed. Whoever keeps the way out (the Spoke,
/// and the relay process) makes again what has gone. All rules are in the sandbox's network
/// (<see cref="WayOutRules"/>).
/// </summary>
public sealed partial class WayOut(Sandbox sandbox, TimeProvider time, ILogger log)
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
    /// <param name="Gateway">The sandbox's own address in the VMs' network.</param>
    /// <param name="Resolver">Address of the guests' resolver, or auto.</param>
    /// <param name="Outside">The network namespace of the machine; null: this one.</param>
    sealed record Plan(bool IsOpen, string Gateway, string Resolver, bool Mail, string? Outside)
    {
        /// <summary>The VMs' networks that the machine routes; none: private mode.</summary>
        public IReadOnlyList<string> Routed { get; init; } = [];

        /// <summary>Those of them that are translated to the machine's addresses.</summary>
        public IReadOnlyList<string> Translated { get; init; } = [];

        /// <summary>The bridge of the machine that they are connected to; null: another mode.</summary>
        public string? Bridge { get; init; }

        /// <summary>With a bridge: the addresses that are this host's.</summary>
        public string? First { get; init; }
        public string? Last { get; init; }

        public bool IsPrivate => Routed.Count == 0 && Bridge is null;
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

    /// <summary>Whether the sandbox is connected in routed, nat or bridged mode.</summary>
    public async Task<bool> IsConnectedAsync(CancellationToken cancel)
    {
        var plan = Read<Plan>(PlanFile);
        var uplink = Uplink(sandbox.RunFolderInUse, plan);
        return await uplink.IsThereAsync(cancel)
            && (plan?.Bridge is null || await uplink.Port.MasterAsync(cancel) == plan.Bridge);
    }

    /// <summary>Whether the helper runs.</summary>
    public bool IsRunning => Read<Started>(HelperFile) is { } helper && Sandbox.Ticks(helper.Pid) == helper.Ticks;

    /// <summary>Why guests are not connected, as this process found last; empty: they are, or are not to be.</summary>
    public string Problem { get; private set; } = "";

    /// <summary>Stores what is wanted, and brings it about.</summary>
    /// <param name="outside">The network namespace of the machine; null: this one.</param>
    public async Task OpenAsync(Settings settings, IPAddress gateway, string? outside, CancellationToken cancel)
    {
        var plan = new Plan(settings.Outbound, gateway.ToString(), settings.VmResolver, settings.OutboundMail, outside)
        {
            Routed = [.. settings.RoutedNetworks.Select(n => n.ToString())],
            Translated = [.. settings.TranslatedNetworks.Select(n => n.ToString())],
        };
        if (settings.IsBridged)
            plan = plan with
            {
                Bridge = settings.Bridge,
                First = settings.VmRange.First.ToString(),
                Last = settings.VmRange.Last.ToString(),
            };
        await DataFolder.WriteWholeAsync(PlanFile, JsonSerializer.SerializeToUtf8Bytes(plan), cancel);
        await sandbox.Inside("sh", "-ec", Forward).RunAsync(cancel);
        FileStream? held;
        while ((held = TryLock()) is null) await Task.Delay(Short, time, cancel);
        await using (held)
        {
            try
            {
                await EnsureLockedAsync(cancel);
                Problem = "";
            }
            catch (ProblemException error)
            {
                Problem = error.Message;
                throw;
            }
        }
    }

    /// <summary>Keeps it as it is wanted, until canceled or the sandbox has ended.</summary>
    public async Task KeepAsync(CancellationToken cancel)
    {
        var changed = new Signal();
        NetworkAddressChangedEventHandler look = (_, _) => changed.Set();
        NetworkChange.NetworkAddressChanged += look;
        var polls = 0;
        try
        {
            while (sandbox.IsAlive)
            {
                if (polls == 0 || (Problem.Length == 0 && !IsRunning
                    && Read<Plan>(PlanFile) is { IsOpen: true, IsPrivate: true }))
                {
                    await TryEnsureAsync(cancel);
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

    /// <summary>A problem is logged once.</summary>
    async Task TryEnsureAsync(CancellationToken cancel)
    {
        try
        {
            if (await EnsureAsync(cancel)) Problem = "";
        }
        catch (Exception error) when (error is ProblemException or IOException)
        {
            if (Problem != error.Message) Log.NoWayOut(log, error.Message);
            Problem = error.Message;
        }
    }

    /// <summary>Brings it about; does nothing while another process does. Returns whether it did.</summary>
    /// <exception cref="ProblemException">Unavailable: it cannot be done now.</exception>
    public async Task<bool> EnsureAsync(CancellationToken cancel)
    {
        if (TryLock() is not { } held) return false;
        await using (held) await EnsureLockedAsync(cancel);
        return true;
    }

    async Task EnsureLockedAsync(CancellationToken cancel)
    {
        if (Read<Plan>(PlanFile) is not { } plan) return;
        var machine = await AddressesAsync(plan, cancel);
        var resolver = plan.Bridge is null ? Resolver(plan.Resolver, plan.IsPrivate) : null;
        var isLocal = plan.IsPrivate && resolver is not null
            && (IPAddress.IsLoopback(resolver) || machine.Contains(resolver));
        // The rules first: there is no moment at which guests could get out without them.
        await ApplyAsync(Rules(plan, isLocal ? WayOutRules.LocalResolver : resolver, machine), plan.Bridge is not null,
            cancel);
        await ConnectAsync(plan, machine, cancel);
        var needs = isLocal ? resolver!.ToString() : "";
        if (IsRunning && plan is { IsOpen: true, IsPrivate: true } && Read<Started>(HelperFile) is { } helper
            && helper.Resolver == needs && helper.Outside == plan.Outside)
            return;
        await EndAsync(cancel);
        if (plan is { IsOpen: true, IsPrivate: true }) await StartAsync(plan, needs, cancel);
    }

    /// <summary>Those of bridged mode are of another family; there no packet is routed.</summary>
    static string Rules(Plan plan, IPAddress? resolver, HashSet<IPAddress> machine)
    {
        var own = IPAddress.Parse(plan.Gateway);
        var routed = WayOutRules.Write(own, resolver, machine, plan.IsOpen && plan.Bridge is null, plan.Mail,
            plan.IsPrivate ? null : [.. plan.Routed.Except(plan.Translated).Select(IPNetwork.Parse)]);
        return routed + (plan.Bridge is null ? BridgeRules.Remove
            : BridgeRules.Write(own, machine, plan.IsOpen, plan.Mail));
    }

    async Task ConnectAsync(Plan plan, HashSet<IPAddress> machine, CancellationToken cancel)
    {
        var uplink = Uplink(sandbox.RunFolderInUse, plan);
        if (plan.IsPrivate || plan is { Bridge: not null, IsOpen: false })
        {
            await uplink.RemoveAsync(cancel);
            return;
        }
        // One of another mode.
        if (await uplink.Port.MasterAsync(cancel) is { } master && (master.Length > 0) != (plan.Bridge is not null))
            await uplink.RemoveAsync(cancel);
        if (plan.Bridge is { } bridge)
        {
            if (InRange((IPAddress.Parse(plan.First!), IPAddress.Parse(plan.Last!)), machine) is { Length: > 0 } taken)
                throw new ProblemException(ProblemKind.Unavailable, $"VMs are not connected: {taken}.");
            await EndAsync(cancel);
            await uplink.Port.EnsureAsync(sandbox, bridge, cancel);
            return;
        }
        IReadOnlyList<IPNetwork> routed = [.. plan.Routed.Select(IPNetwork.Parse)];
        // A route to it would take the place of the machine's own.
        if (Overlap(machine, routed) is { Length: > 0 } overlap)
            throw new ProblemException(ProblemKind.Unavailable, $"VMs are not connected: {overlap}.");
        await EndAsync(cancel);
        await uplink.EnsureAsync(sandbox, routed, [.. plan.Translated.Select(IPNetwork.Parse)], cancel);
    }

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

    async Task ApplyAsync(string rules, bool isBridged, CancellationToken cancel)
    {
        if (rules == applied && await ListAsync(isBridged, cancel) == listed) return;
        if (rules == applied) Log.WayOutRulesGone(log);
        var all = rules + WayOutCounters.Rules + (isBridged ? WayOutCounters.BridgeRules : "");
        await (sandbox.Inside("nft", "-f", "-") with { Input = all }).RunAsync(cancel);
        listed = await ListAsync(isBridged, cancel);
        applied = rules;
    }

    async Task<string> ListAsync(bool isBridged, CancellationToken cancel)
    {
        var routed = await sandbox.Inside("nft", "-s", "list", "table", "inet", WayOutRules.Table).TryRunAsync(cancel);
        if (!isBridged) return routed.Output;
        var bridged = await sandbox.Inside("nft", "-s", "list", "table", "bridge", BridgeRules.Table)
            .TryRunAsync(cancel);
        return routed.Output + bridged.Output;
    }

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
