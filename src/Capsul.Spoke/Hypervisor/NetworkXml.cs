using System.Net;
using System.Text;
using System.Xml;
using System.Xml.Linq;
using Capsul.Foundation;
using static Capsul.Spoke.Hypervisor.DomainXml;

namespace Capsul.Spoke.Hypervisor;

/// <summary>One fixed address that the network's DHCP serves. The name is the VM's ID.</summary>
sealed record DhcpHost(string Name, string Mac, IPAddress Address);

/// <summary>
/// The network of the VMs: a separate bridge, its gateway on the first address, and a DHCP server with fixed entries
/// only. The last usable address belongs to a placeholder entry: without any entry libvirt would not start the DHCP
/// server, and restarting it for the first VM is slower than adding an entry. In bridged mode the bridge has the first
/// address of the host's range, which is the placeholder's, too; the gateway and what it advertises are others'.
/// </summary>
static class NetworkXml
{
    public const string Name = "capsul";
    public const string Bridge = "capsul0";
    const string Dnsmasq = "http://libvirt.org/schemas/network/dnsmasq/1.0";
    const string Placeholder = "capsul-placeholder";

    /// <summary>Gateway, and the first and last address that VMs may have.</summary>
    public static VmNetwork Layout(IPNetwork cidr, IPNetwork? six = null)
    {
        var first = ToNumber(cidr.BaseAddress);
        var size = 1u << (32 - cidr.PrefixLength);
        return new VmNetwork(cidr, ToAddress(first + 1), ToAddress(first + 2), ToAddress(first + size - 3), six);
    }

    /// <summary>Of these settings.</summary>
    public static VmNetwork Layout(Settings settings)
    {
        var six = settings.Libvirt == "private" ? settings.VmNetwork6 : null;
        if (!settings.IsBridged) return Layout(settings.VmNetwork, six);
        var (own, last) = settings.VmRange;
        return new VmNetwork(settings.VmNetwork, settings.VmGateway, ToAddress(ToNumber(own) + 1), last, six)
        {
            Own = own,
            Resolver = WayOut.Resolver(settings.VmResolver, isPrivate: false) ?? settings.VmGateway,
        };
    }

    /// <param name="isRouted">Guests are told that the gateway leads out, and that it is their resolver. libvirt adds
    /// no rules of its own in this mode.</param>
    /// <param name="uuid">Of the network that it replaces; null: there is none.</param>
    public static string Write(
        VmNetwork network, bool isRouted, string? uuid = null, params IReadOnlyList<DhcpHost> hosts) => Write(xml =>
    {
        xml.WriteStartElement("network");
        xml.WriteElementString("name", Name);
        if (uuid is not null) xml.WriteElementString("uuid", uuid);
        if (isRouted) Element(xml, "forward", null, ("mode", "open"));
        Element(xml, "bridge", null, ("name", Bridge), ("stp", "off"), ("delay", "0"));
        Element(xml, "dns", null, ("enable", "no"));
        xml.WriteStartElement("ip");
        xml.WriteAttributeString("address", network.Own.ToString());
        xml.WriteAttributeString("prefix", network.Cidr.PrefixLength.ToString());
        xml.WriteStartElement("dhcp");
        Host(xml, new DhcpHost(Placeholder, "52:54:00:00:00:00",
            network.IsShared ? network.Own : ToAddress(ToNumber(network.Last) + 1)));
        foreach (var host in hosts) Host(xml, host);
        xml.WriteEndElement();
        xml.WriteEndElement();
        // Without a range of DHCP, libvirt's dnsmasq advertises the prefix, and guests configure themselves.
        if (network is { IsShared: false, Cidr6: { } six, Gateway6: { } gateway6 })
            Element(xml, "ip", null, ("family", "ipv6"), ("address", gateway6.ToString()),
                ("prefix", six.PrefixLength.ToString()));
        if (isRouted) Options(xml, DhcpOptions(network));
        xml.WriteEndElement();
    });

    /// <summary>
    /// Options of dnsmasq, because its own resolver is off (RFC 2132, 3.5 and 3.8). Unless it is told another one, it
    /// names itself as the router.
    /// </summary>
    static IReadOnlyList<string> DhcpOptions(VmNetwork network) =>
        [.. network.IsShared ? (string[])[$"dhcp-option=option:router,{network.Gateway}"] : [],
            $"dhcp-option=option:dns-server,{network.Resolver}"];

    static void Options(XmlWriter xml, IEnumerable<string> values)
    {
        xml.WriteStartElement("dnsmasq", "options", Dnsmasq);
        foreach (var value in values)
        {
            xml.WriteStartElement("dnsmasq", "option", Dnsmasq);
            xml.WriteAttributeString("value", value);
            xml.WriteEndElement();
        }
        xml.WriteEndElement();
    }

    /// <summary>Whether a description with a way out tells guests the same as one of this network would.</summary>
    public static bool Tells(string networkXml, VmNetwork network)
    {
        var options = XDocument.Parse(networkXml).Root!.Descendants(XName.Get("option", Dnsmasq))
            .Select(o => (string)o.Attribute("value")!);
        var gateway6 = network.IsShared ? null : network.Gateway6;
        return IsRouted(networkXml) && Gateway6(networkXml) == (gateway6?.ToString() ?? "")
            && options.SequenceEqual(DhcpOptions(network), StringComparer.Ordinal);
    }

    public static string Uuid(string networkXml) => (string)XDocument.Parse(networkXml).Root!.Element("uuid")!;

    /// <summary>The gateway of the IPv6 network in a description; empty if there is none.</summary>
    public static string Gateway6(string networkXml) => XDocument.Parse(networkXml).Root!.Elements("ip")
        .Where(i => (string?)i.Attribute("family") == "ipv6").Select(i => (string)i.Attribute("address")!)
        .FirstOrDefault("");

    /// <summary>Whether guests of a network in a description are told of a way out.</summary>
    public static bool IsRouted(string networkXml) => XDocument.Parse(networkXml).Root!.Element("forward") is not null;

    public static string Write(DhcpHost host) => Write(xml => Host(xml, host));

    /// <summary>The VMs' entries in a network's description.</summary>
    public static IReadOnlyList<DhcpHost> Hosts(string networkXml) =>
        [.. from host in XDocument.Parse(networkXml).Descendants("dhcp").Elements("host")
            let name = (string?)host.Attribute("name")
            where name is not null && name != Placeholder
            select new DhcpHost(name, (string)host.Attribute("mac")!, IPAddress.Parse((string)host.Attribute("ip")!))];

    /// <summary>The network in a description, to detect whether the setting has changed since.</summary>
    public static (string Gateway, string Prefix) Cidr(string networkXml)
    {
        var ip = XDocument.Parse(networkXml).Root!.Element("ip")!;
        return ((string)ip.Attribute("address")!, (string?)ip.Attribute("prefix") ?? "");
    }

    static void Host(XmlWriter xml, DhcpHost host) =>
        Element(xml, "host", null, ("mac", host.Mac), ("name", host.Name), ("ip", host.Address.ToString()));

    internal static string Write(Action<XmlWriter> body)
    {
        var text = new StringBuilder();
        using (var xml = XmlWriter.Create(text, new XmlWriterSettings { OmitXmlDeclaration = true }))
            body(xml);
        return text.ToString();
    }

    static uint ToNumber(IPAddress address) =>
        System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes());

    static IPAddress ToAddress(uint number)
    {
        var bytes = new byte[4];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
        return new IPAddress(bytes);
    }
}
