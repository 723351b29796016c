using static Capsul.Spoke.Hypervisor.DomainXml;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The storage pool and its volumes.</summary>
static class StorageXml
{
    public const string Pool = "capsul";

    public static string Volume(string id) => $"{id}.qcow2";

    public static string WritePool(string folder) => NetworkXml.Write(xml =>
    {
        xml.WriteStartElement("pool");
        xml.WriteAttributeString("type", "dir");
        xml.WriteElementString("name", Pool);
        xml.WriteStartElement("target");
        xml.WriteElementString("path", folder);
        xml.WriteEndElement();
        xml.WriteEndElement();
    });

    /// <summary>A copy-on-write disk based on the image. Only QEMU's user can read it.</summary>
    public static string WriteVolume(string id, int sizeGb, string image, (int User, int Group) qemu) =>
        NetworkXml.Write(xml =>
        {
            xml.WriteStartElement("volume");
            xml.WriteElementString("name", Volume(id));
            Element(xml, "capacity", sizeGb.ToString(), ("unit", "GiB"));
            Element(xml, "allocation", "0");
            xml.WriteStartElement("target");
            Element(xml, "format", null, ("type", "qcow2"));
            xml.WriteStartElement("permissions");
            xml.WriteElementString("mode", "0600");
            xml.WriteElementString("owner", qemu.User.ToString());
            xml.WriteElementString("group", qemu.Group.ToString());
            xml.WriteEndElement();
            xml.WriteElementString("compat", "1.1");
            xml.WriteEndElement();
            xml.WriteStartElement("backingStore");
            xml.WriteElementString("path", image);
            Element(xml, "format", null, ("type", "qcow2"));
            xml.WriteEndElement();
            xml.WriteEndElement();
        });
}
