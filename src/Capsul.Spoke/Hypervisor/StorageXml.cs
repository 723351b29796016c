using System.Globalization;
using static Capsul.Spoke.Hypervisor.DomainXml;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The storage pool and its volumes.</summary>
static class StorageXml
{
    public const string Pool = "capsul";

    /// <summary>Endings of the files that each disk of a VM has.</summary>
    public static readonly string[] Endings = ["qcow2", "iso", "kernel", "initrd", "boot"];

    public static string Volume(string id, long disk) => $"{Stem(id, disk)}.qcow2";

    /// <summary>How the names of a disk's files begin: the first one is named after the VM alone.</summary>
    public static string Stem(string id, long disk) =>
        disk == 0 ? id : string.Create(CultureInfo.InvariantCulture, $"{id}.{disk}");

    /// <summary>Whose file it is: the number of a disk of this VM; null: of none.</summary>
    public static long? DiskOf(string id, string file)
    {
        var parts = file.Split('.');
        if (parts[0] != id || !Endings.Contains(parts[^1], StringComparer.Ordinal)) return null;
        return parts.Length == 2 ? 0
            : parts.Length == 3 && long.TryParse(parts[1], CultureInfo.InvariantCulture, out var disk) ? disk : null;
    }

    public static string RescueStem(string id, long rescue) =>
        string.Create(CultureInfo.InvariantCulture, $"{id}.rescue.{rescue}");

    public static string RescueVolume(string id, long rescue) => $"{RescueStem(id, rescue)}.qcow2";

    /// <summary>The number of the rescue system of this VM that a file is of; null: of none.</summary>
    public static long? RescueOf(string id, string file) =>
        file.Split('.') is [var of, "rescue", var number, "qcow2" or "iso"] && of == id
            && long.TryParse(number, CultureInfo.InvariantCulture, out var rescue) ? rescue : null;

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
    public static string WriteVolume(string name, int sizeGb, string image, (int User, int Group) qemu) =>
        NetworkXml.Write(xml =>
        {
            xml.WriteStartElement("volume");
            xml.WriteElementString("name", name);
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
