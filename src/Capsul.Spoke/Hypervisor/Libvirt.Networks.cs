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

    static readonly TimeSpan DialLimit = TimeSpan.FromSeconds(5);

    /// <summary>Check and change must not interleave: libvirt rejects an entry that already exists.</summary>
    readonly Lock addresses = new();

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

    bool PrepareNetwork(ConnectHandle connect)
    {
        var wanted = (network.Gateway.ToString(), network.Cidr.PrefixLength.ToString());
        using var found = Find(virNetworkLookupByName(connect, NetworkXml.Name), LibvirtError.NoNetwork);
        if (found is not null && NetworkXml.Cidr(Take(virNetworkGetXMLDesc(found, 0))) is var there && there != wanted)
            throw new LibvirtError(LibvirtError.OperationInvalid,
                $"the network {NetworkXml.Name} exists with the gateway {there.Gateway}/{there.Prefix}; "
                + "restore CAPSUL_VM_NETWORK, or remove all VMs and that network");
        using var added = found is null ? Check(virNetworkDefineXML(connect, NetworkXml.Write(network))) : null;
        var ours = found ?? added!;
        Check(virNetworkSetAutostart(ours, 1));
        if (Check(virNetworkIsActive(ours)) == 0) Check(virNetworkCreate(ours));
        return true;
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
                await filter.AllowAsync(DomainXml.Tap(vm.Id), vm.Mac, vm.Address, cancel);
            }
            catch (ProblemException error)
            {
                // Reloading a firewall removes all tables, including ours.
                Log.FilterGone(log, error);
                await PrepareFilterAsync(cancel);
                await filter.AllowAsync(DomainXml.Tap(vm.Id), vm.Mac, vm.Address, cancel);
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
    async Task PrepareFilterAsync(CancellationToken cancel)
    {
        var hosts = await libvirt.CallAsync("list the addresses", Quick, Hosts, cancel);
        await filter.PrepareAsync(
            hosts.Where(h => IsOurs(h.Name)).Select(h => (DomainXml.Tap(h.Name), h.Mac, h.Address)), cancel);
    }
}
