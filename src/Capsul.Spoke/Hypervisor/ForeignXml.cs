using System.Xml.Linq;

namespace Capsul.Spoke.Hypervisor;

/// <summary>What the definition of a foreign machine says. Paths are as libvirt sees them.</summary>
/// <param name="Disk">Its disk; empty if it has none, or several.</param>
/// <param name="Files">The files of all its disks.</param>
/// <param name="Refusal">Why it cannot be adopted; empty if the definition does not prevent it.</param>
sealed record ForeignDefinition(
    int Vcpus, int MemoryMb, string Mac, string Disk, string Format, string? Kernel, string? Initrd,
    string? CommandLine, IReadOnlyList<string> Files, string Refusal);

/// <summary>Reads a domain that Capsul did not write (https://libvirt.org/formatdomain.html).</summary>
static class ForeignXml
{
    public static ForeignDefinition Read(string domainXml)
    {
        var root = XDocument.Parse(domainXml).Root!;
        var devices = root.Element("devices") ?? new XElement("devices");
        List<XElement> disks = [.. devices.Elements("disk").Where(d => d.Attribute("device")?.Value is null or "disk"
            or "lun")];
        var disk = disks.Count == 1 ? disks[0] : null;
        var os = root.Element("os");
        return new ForeignDefinition(
            int.TryParse(root.Element("vcpu")?.Value, out var vcpus) ? vcpus : 0, Memory(root.Element("memory")),
            devices.Elements("interface").FirstOrDefault()?.Element("mac")?.Attribute("address")?.Value
                .ToLowerInvariant() ?? "",
            disk?.Element("source")?.Attribute("file")?.Value ?? "",
            disk?.Element("driver")?.Attribute("type")?.Value ?? "raw",
            os?.Element("kernel")?.Value, os?.Element("initrd")?.Value, os?.Element("cmdline")?.Value,
            [.. disks.Select(d => d.Element("source")?.Attribute("file")?.Value).OfType<string>()],
            Refusal(root, devices, disks) ?? "");
    }

    static string? Refusal(XElement root, XElement devices, List<XElement> disks)
    {
        if (root.Attribute("type")?.Value is not ("kvm" or "qemu")) return "It does not run under QEMU.";
        if (disks.Count != 1) return $"It has {disks.Count} disks; a capsul has exactly one.";
        var disk = disks[0];
        if (disk.Attribute("type")?.Value != "file" || disk.Element("source")?.Attribute("file") is null)
            return "Its disk is not a file (it is a block device, a volume or on the network).";
        if (disk.Element("driver")?.Attribute("type")?.Value is not (null or "qcow2" or "raw"))
            return "Its disk is neither qcow2 nor raw.";
        if (disk.Element("target")?.Attribute("bus")?.Value is not "virtio")
            return "Its disk is not a virtio disk, and might not be found under another name.";
        if (disk.Element("encryption") is not null || disk.Element("source")?.Element("encryption") is not null)
            return "Its disk is encrypted by the host.";
        if (disk.Element("readonly") is not null || disk.Element("shareable") is not null)
            return "Its disk is read-only or shared.";
        if (devices.Elements("hostdev").Any()
            || devices.Elements("interface").Any(i => i.Attribute("type")?.Value == "hostdev"))
            return "It uses a device of the host (passthrough).";
        var os = root.Element("os");
        return os?.Attribute("firmware") is not null || os?.Element("loader") is not null
            || os?.Element("nvram") is not null ? "It boots by UEFI, which capsuls do not have." : null;
    }

    /// <summary>MiB, rounded up.</summary>
    static int Memory(XElement? memory) => memory is not null && long.TryParse(memory.Value, out var value)
        ? (int)Math.Clamp(memory.Attribute("unit")?.Value switch
        {
            "b" or "bytes" => (value + (1 << 20) - 1) >> 20,
            "MiB" or "M" => value,
            "GiB" or "G" => value << 10,
            _ => (value + 1023) >> 10,
        }, 0, int.MaxValue) : 0;
}
