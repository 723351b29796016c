using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The network, its fixed DHCP entries, the filter, and connections into it.</summary>
public sealed partial class Libvirt
{
    /// <summary>virNetworkUpdateCommand, virNetworkUpdateSection, virNetworkUpdateFlags.</summary>
    const uint Delete = 2, AddLast = 3, DhcpHosts = 4, LiveAndConfig = 1 | 2;

    static readonly TimeSpan DialLimit = TimeSpan.FromSeconds(5), FilterCheck = TimeSpan.FromSeconds(10);

    /// <summary>Check and change must not interleave: libvirt rejects an entry that already exists.</summary>
    readonly Lock addresses = new();

    internal async Task<Socket> DialUdpAsync(IPAddress address, int port, CancellationToken cancel) => sandbox is null
        ? Sandbox.Connect(new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp), address, port)
        : await sandbox.DialUdpAsync(address, port);

    public async Task<Stream> DialAsync(IPAddress address, int port, CancellationToken cancel)
    {
        using var limit = new CancellationTokenSource(DialLimit, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancel);
        Socket? socket = null;
        try
        {
            socket = sandbox is null
                ? new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)
                : await sandbox.OpenSocketAsync();
            socket.NoDelay = true;
            Sandbox.Mark(socket);
            await socket.ConnectAsync(new IPEndPoint(address, port), either.Token);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (OperationCanceledException error) when (!cancel.IsCancellationRequested)
        {
            socket?.Dispose();
            throw new HypervisorException(
                $"{address}:{port} did not respond within {DialLimit.TotalSeconds:0} s.", final: false, error);
        }
        catch (Exception error) when (error is SocketException or IOException or ObjectDisposedException)
        {
            socket?.Dispose();
            throw new HypervisorException($"{address}:{port} does not respond: {error.Message}.", final: false, error);
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }

    /// <summary>Without a way out VMs can still be created and reached.</summary>
    async Task PrepareWayOutAsync(CancellationToken cancel)
    {
        if (sandbox is null) return;
        wayOut ??= new WayOut(sandbox, time, log);
        try
        {
            await wayOut.OpenAsync(settings, network.Own, OutsideNetwork, cancel);
        }
        catch (Exception error) when (error is ProblemException or IOException or UnauthorizedAccessException)
        {
            Log.NoWayOut(log, error.Message);
        }
        if (keeping.IsCompleted) keeping = wayOut.KeepAsync(lifetime.Token);
    }

    public string CutOff => wayOut?.Problem ?? "";

    bool PrepareNetwork(ConnectHandle connect)
    {
        var wanted = (network.Own.ToString(), network.Cidr.PrefixLength.ToString());
        using var found = Find(virNetworkLookupByName(connect, NetworkXml.Name), LibvirtError.NoNetwork);
        var description = found is null ? "" : Take(virNetworkGetXMLDesc(found, 0));
        if (found is not null && NetworkXml.Cidr(description) is var there && there != wanted)
            throw new LibvirtError(LibvirtError.OperationInvalid,
                $"the network {NetworkXml.Name} exists with the gateway {there.Gateway}/{there.Prefix}; restore "
                + (network.IsShared ? "CAPSUL_NETWORK, CAPSUL_VM_RANGE and " : "")
                + "CAPSUL_VM_NETWORK, or remove all VMs and that network");
        using var added = found is null
            ? Check(virNetworkDefineXML(connect, NetworkXml.Write(network, isRouted: Private))) : null;
        var ours = found ?? added!;
        if (found is not null && Private && !NetworkXml.Tells(description, network))
            Renew(connect, found, description);
        Check(virNetworkSetAutostart(ours, 1));
        if (Check(virNetworkIsActive(ours)) == 0) Check(virNetworkCreate(ours));
        return true;
    }

    /// <summary>
    /// A network of an earlier version, which had no way out or no IPv6, or of other settings. It cannot be changed
    /// while it runs: the bridge is made anew, and <see cref="AttachTapsAsync"/> connects the running VMs to it again,
    /// within a second.
    /// </summary>
    void Renew(ConnectHandle connect, NetworkHandle found, string description)
    {
        var hosts = NetworkXml.Hosts(description);
        var xml = NetworkXml.Write(network, isRouted: true, NetworkXml.Uuid(description), hosts);
        using var defined = Check(virNetworkDefineXML(connect, xml));
        if (Check(virNetworkIsActive(found)) == 1) Check(virNetworkDestroy(found));
    }

    /// <summary>Connects the taps of running VMs that have lost their bridge.</summary>
    async Task AttachTapsAsync(CancellationToken cancel)
    {
        if (sandbox is null) return;
        await sandbox.Inside("sh", "-ec", """
            for tap in /sys/class/net/cap*; do
                tap=${tap##*/}
                [ "$tap" = "$1" ] || [ -e "/sys/class/net/$tap/brport" ] || ip link set "$tap" master "$1" ||
                    [ ! -e "/sys/class/net/$tap" ]
            done
            """, "sh", NetworkXml.Bridge).RunAsync(cancel);
    }

    static IReadOnlyList<DhcpHost> Hosts(ConnectHandle connect)
    {
        using var ours = Check(virNetworkLookupByName(connect, NetworkXml.Name));
        return NetworkXml.Hosts(Take(virNetworkGetXMLDesc(ours, 0)));
    }

    /// <summary>Adds the VM's DHCP entry. A conflicting entry is outdated and is removed.</summary>
    Task ServeAddressAsync(VmSpec vm, CancellationToken cancel)
    {
        var wanted = new DhcpHost(vm.Id, vm.Mac, vm.Address);
        return libvirt.CallAsync($"assign the address of {vm.Id}", Slow, connect =>
        {
            lock (addresses)
            {
                using var ours = Check(virNetworkLookupByName(connect, NetworkXml.Name));
                var there = NetworkXml.Hosts(Take(virNetworkGetXMLDesc(ours, 0)));
                if (there.Contains(wanted)) return true;
                foreach (var old in there.Where(
                    h => h.Name == wanted.Name || h.Mac == wanted.Mac || h.Address.Equals(wanted.Address)))
                    Check(virNetworkUpdate(ours, Delete, DhcpHosts, -1, NetworkXml.Write(old), LiveAndConfig));
                Check(virNetworkUpdate(ours, AddLast, DhcpHosts, -1, NetworkXml.Write(wanted), LiveAndConfig));
                return true;
            }
        }, cancel);
    }

    Task ForgetAddressAsync(string id, CancellationToken cancel) =>
        libvirt.CallAsync($"release the address of {id}", Slow, connect =>
    {
        lock (addresses)
        {
            using var ours = Check(virNetworkLookupByName(connect, NetworkXml.Name));
            foreach (var old in NetworkXml.Hosts(Take(virNetworkGetXMLDesc(ours, 0))).Where(h => h.Name == id))
                Check(virNetworkUpdate(ours, Delete, DhcpHosts, -1, NetworkXml.Write(old), LiveAndConfig));
            return true;
        }
    }, cancel);

    async Task AllowAsync(VmSpec vm, CancellationToken cancel)
    {
        try
        {
            try
            {
                await filter.AllowAsync(ToGuest(vm), cancel);
            }
            catch (ProblemException error)
            {
                // Reloading a firewall removes all tables, including ours.
                Log.FilterGone(log, error);
                await PrepareFilterAsync(cancel);
                RulesRemoved = time.GetUtcNow();
                await filter.AllowAsync(ToGuest(vm), cancel);
            }
        }
        catch (ProblemException error)
        {
            throw new HypervisorException(
                $"The filter for {vm.Id} could not be set: {error.Message}", final: false, error);
        }
    }

    /// <summary>
    /// The DHCP entries contain everything that the filter needs, so it can always be rebuilt from them.
    /// </summary>
    async Task PrepareFilterAsync(CancellationToken cancel) =>
        await filter.PrepareAsync(await GuestsAsync(cancel), cancel);

    async Task<IReadOnlyList<Guest>> GuestsAsync(CancellationToken cancel)
    {
        var hosts = await libvirt.CallAsync("list the addresses", Quick, Hosts, cancel);
        return [.. hosts.Where(h => IsOurs(h.Name))
            .Select(h => new Guest(DomainXml.Tap(h.Name), h.Mac, h.Address, Address6(h)))];
    }

    static Guest ToGuest(VmSpec vm) =>
        new(DomainXml.Tap(vm.Id), vm.Mac, vm.Address, vm.Address6, vm.Firewall) { Further = vm.Further };

    public DateTimeOffset? RulesRemoved { get; private set; }

    public async Task GuardAsync(VmSpec vm, CancellationToken cancel)
    {
        Require(vm.Id);
        await AllowAsync(vm, cancel);
    }

    public bool IsGuarded(VmSpec vm) => filter.IsAllowed(ToGuest(vm));

    /// <summary>Looks after the filter until this hypervisor is disposed.</summary>
    async Task KeepFilterAsync()
    {
        while (!lifetime.IsCancellationRequested)
        {
            await Task.Delay(FilterCheck, time, lifetime.Token);
            try
            {
                if (!await filter.RepairAsync(GuestsAsync, lifetime.Token)) continue;
                Log.FilterRulesGone(log);
                RulesRemoved = time.GetUtcNow();
            }
            catch (Exception error) when (error is ProblemException or HypervisorException
                or System.Text.Json.JsonException)
            {
                Log.FilterUnchecked(log, error.Message);
            }
        }
    }

    /// <summary>As the Hub has decided it: a VM with another hardware address has none.</summary>
    IPAddress? Address6(DhcpHost host)
    {
        var own = string.Join(':', host.Address.GetAddressBytes().Select(b => b.ToString("x2")).Prepend("52:54"));
        return network.Cidr6 is { } six && host.Mac == own ? Filter.Derive(six.BaseAddress, host.Mac) : null;
    }
}
