using System.Net;
using System.Text;
using System.Xml;
using System.Xml.Linq;
using static Capsul.Spoke.Hypervisor.DomainXml;

namespace Capsul.Spoke.Hypervisor;

/// <summary>One fixed address that the network's DHCP serves. The name is the VM's ID.</summary>
sealed record DhcpHost(string Name, string Mac, IPAddress Address);

/// <summary>
/// The network of the VMs: a separate bridge, its gateway on the first address, and a DHCP server with fixed entries
/// only. The last usable address belongs to a placeholder entry: without any entry libvirt would not start the DHCP
/// server, and restarting it for the first VM is slower than adding an entry.
/// </summary>
static class NetworkXml
{
    public const string Name = "capsul";
    public const string Bridge = "capsul0";
    const string Placeholder = "capsul-placeholder";

    /// <summary>Gateway, and the first and last address that VMs may have.</summary>
    public static VmNetwork Layout(IPNetwork cidr)
    {
        var first = ToNumber(cidr.BaseAddress);
        var size = 1u << (32 - cidr.PrefixLength);
        return new VmNetwork(cidr, ToAddress(first + 1), ToAddress(first + 2), ToAddress(first + size - 3));
    }

    public static string Write(VmNetwork network) => Write(xml =>
    {
        xml.WriteStartElement("network");
        xml.WriteElementString("name", Name);
        Element(xml, "bridge", null, ("name", Bridge), ("stp", "off"), ("delay", "0"));
        Element(xml, "dns", null, ("enable", "no"));
        xml.WriteStartElement("ip");
        xml.WriteAttributeString("address", network.Gateway.ToString());
        xml.WriteAttributeString("prefix", network.Cidr.PrefixLength.ToString());
        xml.WriteStartElement("dhcp");
        Host(xml, new DhcpHost(Placeholder, "52:54:00:00:00:00", ToAddress(ToNumber(network.Last) + 1)));
        xml.WriteEndElement();
        xml.WriteEndElement();
        xml.WriteEndElement();
    });

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
