using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Capsul.Foundation;

/// <summary>What the settings of bridged mode may be. Whether they fit this machine is what its Spoke checks.</summary>
public sealed partial class Settings
{
    /// <summary>As many addresses as the Hub takes from a host.</summary>
    const int MaxRange = 4096;

    void CheckBridge()
    {
        Must("CAPSUL_BRIDGE", !IsSet("CAPSUL_BRIDGE") || IsInterface(Bridge), "the name of an interface, such as br0");
        if (!IsBridged) return;
        Must("CAPSUL_NETWORK", IsSet("CAPSUL_BRIDGE") && IsSet("CAPSUL_VM_NETWORK") && IsSet("CAPSUL_VM_RANGE")
            && IsSet("CAPSUL_VM_GATEWAY"), "set together with CAPSUL_BRIDGE, CAPSUL_VM_NETWORK, CAPSUL_VM_RANGE and "
            + "CAPSUL_VM_GATEWAY in bridged mode");
        Must("CAPSUL_VM_GATEWAY", Ipv4Number(Text("CAPSUL_VM_GATEWAY")) is { } gateway && IsHost(gateway),
            $"an address of a machine in CAPSUL_VM_NETWORK, {VmNetwork}");
        Must("CAPSUL_VM_RANGE", ParseRange(Text("CAPSUL_VM_RANGE")) is not null,
            "two IPv4 addresses, such as 192.0.2.64-192.0.2.95");
        var (first, last) = (Number(VmRange.First), Number(VmRange.Last));
        Must("CAPSUL_VM_RANGE", IsHost(first) && IsHost(last), $"inside CAPSUL_VM_NETWORK, {VmNetwork}");
        Must("CAPSUL_VM_RANGE", first < last && last - first < MaxRange,
            $"at least 2 and at most {MaxRange} addresses, the lowest first");
        Must("CAPSUL_VM_RANGE", Number(VmGateway) < first || Number(VmGateway) > last,
            $"addresses that are free, without CAPSUL_VM_GATEWAY, {VmGateway}");
    }

    /// <summary>Whether it is in the VMs' network, and neither its own address nor the one for all.</summary>
    bool IsHost(uint address)
    {
        var network = Number(VmNetwork.BaseAddress);
        return address > network && address < network + (uint.MaxValue >> VmNetwork.PrefixLength);
    }

    /// <summary>
    /// A subset of what the kernel takes (dev_valid_name): nothing that a program could take for an option, a path or a
    /// pattern.
    /// </summary>
    static bool IsInterface(string name) => name.Length is >= 1 and <= 15 && char.IsAsciiLetterOrDigit(name[0])
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');

    static (IPAddress, IPAddress)? ParseRange(string text) =>
        text.Split('-', StringSplitOptions.TrimEntries) is [var first, var last]
        && Ipv4Number(first) is not null && Ipv4Number(last) is not null
            ? (IPAddress.Parse(first), IPAddress.Parse(last)) : null;

    /// <summary>Null: not four decimal numbers. The parser also takes 10.1, and 010 as octal.</summary>
    static uint? Ipv4Number(string text) => IPAddress.TryParse(text, out var address)
        && address.AddressFamily == AddressFamily.InterNetwork && address.ToString() == text ? Number(address) : null;

    static uint Number(IPAddress address) => BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes());
}
