using System.Security.Cryptography;
using System.Text;
using System.Xml;
using System.Xml.Linq;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Paths of a VM's files as QEMU sees them.</summary>
sealed record DomainFiles(
    string Disk, string? Seed, string ConsoleLog, string ConsoleSocket, string? Kernel, string? Initrd)
{
    public string Format { get; init; } = "qcow2";

    /// <summary>The disk of the VM, if these are the files of a rescue system; null: they are its own.</summary>
    public string? Rescued { get; init; }

    public string RescuedFormat { get; init; } = "qcow2";
}

/// <summary>
/// The libvirt domain of a VM. Minimal on purpose: no USB or balloon, no option ROM of the network card, and all
/// devices on the root bus, because every PCI bridge and every probed device slows the guest's boot (libvirt's default
/// of one root port per device costs the tiny guest about half a second under TCG). Two empty root ports are left for
/// hot-plugged devices. The screen is a plain VGA card, which every system can use, and listens nowhere: libvirt hands
/// connections to QEMU (decision 19). Keyboard and mouse are the PS/2 ones that the machine has anyway.
/// </summary>
static class DomainXml
{
    /// <summary>The tap's name on the host, used by the filter; 13 of the 15 characters that Linux allows.</summary>
    public static string Tap(string id) => string.Concat("cap", id.AsSpan("capsul-".Length));

    /// <summary>
    /// Derived from the VM's ID, so that defining it again updates the domain instead of conflicting with it.
    /// </summary>
    public static Guid Uuid(string id) => new(SHA256.HashData(Encoding.UTF8.GetBytes(id)).AsSpan(0, 16));

    public static string Write(VmSpec vm, string? commandLine, DomainFiles files, bool kvm)
    {
        var text = new StringBuilder();
        using (var xml = XmlWriter.Create(text, new XmlWriterSettings { OmitXmlDeclaration = true, Indent = true }))
        {
            xml.WriteStartElement("domain");
            xml.WriteAttributeString("type", kvm ? "kvm" : "qemu");
            xml.WriteElementString("name", vm.Id);
            xml.WriteElementString("uuid", Uuid(vm.Id).ToString());
            xml.WriteElementString("title", vm.Name);
            Element(xml, "memory", vm.MemoryMb.ToString(), ("unit", "MiB"));
            xml.WriteElementString("vcpu", vm.Vcpus.ToString());
            Os(xml, commandLine, files);
            xml.WriteStartElement("features");
            Element(xml, "acpi", null);
            Element(xml, "apic", null);
            xml.WriteEndElement();
            Element(xml, "cpu", null, kvm ? [("mode", "host-passthrough"), ("check", "none")] : [("mode", "maximum")]);
            Element(xml, "clock", null, ("offset", "utc"));
            xml.WriteElementString("on_poweroff", "destroy");
            xml.WriteElementString("on_reboot", "restart");
            xml.WriteElementString("on_crash", "destroy");
            Devices(xml, vm, files);
            xml.WriteEndElement();
        }
        return text.ToString();
    }

    /// <summary>What a domain that this has written is started from.</summary>
    public static VmBoot? ReadBoot(string id, string xml)
    {
        var files = XDocument.Parse(xml).Root!.Elements("devices").Elements("disk").Elements("source")
            .Select(s => Path.GetFileName(s.Attribute("file")?.Value ?? ""))
            .Where(f => f.EndsWith(".qcow2", StringComparison.Ordinal)).ToList();
        return files.Select(f => StorageXml.DiskOf(id, f)).FirstOrDefault(d => d is not null) is { } disk
            ? new VmBoot(disk, files.Select(f => StorageXml.RescueOf(id, f)).FirstOrDefault(r => r is not null) ?? 0)
            : null;
    }

    static void Os(XmlWriter xml, string? commandLine, DomainFiles files)
    {
        xml.WriteStartElement("os");
        Element(xml, "type", "hvm", ("arch", "x86_64"), ("machine", "q35"));
        if (files.Kernel is not null)
        {
            xml.WriteElementString("kernel", files.Kernel);
            if (files.Initrd is not null) xml.WriteElementString("initrd", files.Initrd);
            xml.WriteElementString("cmdline", commandLine ?? "console=ttyS0");
        }
        else
        {
            Element(xml, "boot", null, ("dev", "hd"));
        }
        xml.WriteEndElement();
    }

    static void Devices(XmlWriter xml, VmSpec vm, DomainFiles files)
    {
        xml.WriteStartElement("devices");
        Disk(xml, files.Disk, files.Format, "vda", slot: 2, readOnly: false);
        if (files.Seed is not null) Disk(xml, files.Seed, "raw", "vdb", slot: 3, readOnly: true);
        if (files.Rescued is not null) Disk(xml, files.Rescued, files.RescuedFormat, "vdc", slot: 7, readOnly: false);
        Element(xml, "controller", null, ("type", "usb"), ("model", "none"));
        foreach (var index in (ReadOnlySpan<string>)["1", "2"])
            Element(xml, "controller", null, ("type", "pci"), ("model", "pcie-root-port"), ("index", index));
        Controller(xml, "virtio-serial", slot: 5);
        Interface(xml, vm);
        Serial(xml, files);
        Screen(xml);
        xml.WriteStartElement("channel");
        xml.WriteAttributeString("type", "unix");
        Element(xml, "target", null, ("type", "virtio"), ("name", "org.qemu.guest_agent.0"));
        xml.WriteEndElement();
        xml.WriteStartElement("rng");
        xml.WriteAttributeString("model", "virtio");
        Element(xml, "backend", "/dev/urandom", ("model", "random"));
        Address(xml, slot: 6);
        xml.WriteEndElement();
        Element(xml, "memballoon", null, ("model", "none"));
        xml.WriteEndElement();
    }

    static void Disk(XmlWriter xml, string file, string format, string target, int slot, bool readOnly)
    {
        xml.WriteStartElement("disk");
        xml.WriteAttributeString("type", "file");
        xml.WriteAttributeString("device", "disk");
        Element(xml, "driver", null, readOnly
            ? [("name", "qemu"), ("type", format)]
            : [("name", "qemu"), ("type", format), ("cache", "writeback"), ("discard", "unmap"),
                // When the host's disk is full the guest is paused; other errors are for the guest to handle.
                ("error_policy", "enospace")]);
        Element(xml, "source", null, ("file", file));
        Element(xml, "target", null, ("dev", target), ("bus", "virtio"));
        if (readOnly) Element(xml, "readonly", null);
        Address(xml, slot);
        xml.WriteEndElement();
    }

    static void Controller(XmlWriter xml, string type, int slot)
    {
        xml.WriteStartElement("controller");
        xml.WriteAttributeString("type", type);
        xml.WriteAttributeString("index", "0");
        Address(xml, slot);
        xml.WriteEndElement();
    }

    static void Interface(XmlWriter xml, VmSpec vm)
    {
        xml.WriteStartElement("interface");
        xml.WriteAttributeString("type", "network");
        Element(xml, "mac", null, ("address", vm.Mac));
        Element(xml, "source", null, ("network", NetworkXml.Name));
        Element(xml, "target", null, ("dev", Tap(vm.Id)));
        Element(xml, "model", null, ("type", "virtio"));
        // vhost is a kernel feature that not every host has; QEMU's own back end always works.
        Element(xml, "driver", null, ("name", "qemu"));
        Element(xml, "rom", null, ("enabled", "no"));
        Address(xml, slot: 4);
        xml.WriteEndElement();
    }

    static void Serial(XmlWriter xml, DomainFiles files)
    {
        xml.WriteStartElement("serial");
        xml.WriteAttributeString("type", "unix");
        Element(xml, "source", null, ("mode", "bind"), ("path", files.ConsoleSocket));
        Element(xml, "log", null, ("file", files.ConsoleLog), ("append", "on"));
        Element(xml, "target", null, ("port", "0"));
        xml.WriteEndElement();
    }

    static void Screen(XmlWriter xml)
    {
        xml.WriteStartElement("graphics");
        xml.WriteAttributeString("type", "vnc");
        xml.WriteAttributeString("sharePolicy", "force-shared");
        Element(xml, "listen", null, ("type", "none"));
        xml.WriteEndElement();
        xml.WriteStartElement("video");
        Element(xml, "model", null, ("type", "vga"), ("vram", "16384"), ("heads", "1"), ("primary", "yes"));
        Address(xml, slot: 1);
        xml.WriteEndElement();
    }

    /// <summary>Whether a domain that this has written, now or before, has a screen.</summary>
    public static bool HasScreen(string xml) =>
        XDocument.Parse(xml).Root!.Elements("devices").Elements("graphics").Any();

    static void Address(XmlWriter xml, int slot) =>
        Element(xml, "address", null, ("type", "pci"), ("domain", "0x0000"),
            ("bus", "0x00"), ("slot", $"0x{slot:x2}"), ("function", "0x0"));

    internal static void Element(
        XmlWriter xml, string name, string? text, params ReadOnlySpan<(string Name, string Value)> attributes)
    {
        xml.WriteStartElement(name);
        foreach (var attribute in attributes)
            xml.WriteAttributeString(attribute.Name, attribute.Value);
        if (text is not null) xml.WriteString(text);
        xml.WriteEndElement();
    }
}
