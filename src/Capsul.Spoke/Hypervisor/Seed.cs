using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The small read-only disk with a guest's configuration: cloud-init's NoCloud source, an ISO with the label cidata
/// (https://docs.cloud-init.io/en/22.4.2/topics/datasources/nocloud.html). All strings are written as JSON, which is a
/// subset of YAML.
/// </summary>
static class Seed
{
    static readonly JsonSerializerOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string UserData(VmSpec vm)
    {
        var text = new StringBuilder("#cloud-config\n");
        text.Append($"hostname: {Quote(vm.Name)}\n");
        // One key type is enough, and keys take seconds on a slow CPU; generating locales and passwords is not needed.
        text.Append(
            "locale: false\nssh_pwauth: false\ndisable_root: true\nssh_deletekeys: true\nssh_genkeytypes: [ed25519]\n");
        text.Append(vm.SshKeys.Count == 0 ? "ssh_authorized_keys: []\n" : "ssh_authorized_keys:\n");
        foreach (var key in vm.SshKeys)
            text.Append($"  - {Quote(key.Trim())}\n");
        return text.ToString();
    }

    public static string MetaData(VmSpec vm) => $"instance-id: {vm.Id}\nlocal-hostname: {HostName(vm.Name)}\n";

    /// <summary>
    /// Quoted only where YAML 1.1 would read a number or a boolean (https://yaml.org/type/bool.html): an older tiny
    /// image uses the rest of the line literally.
    /// </summary>
    static string HostName(string name) =>
        char.IsAsciiDigit(name[0])
            || name is "y" or "yes" or "n" or "no" or "on" or "off" or "true" or "false" or "null" ? Quote(name) : name;

    public static string NetworkConfig(VmSpec vm) =>
        $"version: 2\nethernets:\n  primary:\n    match:\n      macaddress: {Quote(vm.Mac)}\n    dhcp4: true\n"
            + "    dhcp6: false\n";

    /// <summary>Writes the ISO atomically.</summary>
    public static async Task WriteAsync(VmSpec vm, string file, CancellationToken cancel)
    {
        var folder = file + ".tmp";
        try
        {
            Directory.CreateDirectory(folder);
            var files = Directory.CreateDirectory(Path.Combine(folder, "files")).FullName;
            await File.WriteAllTextAsync(Path.Combine(files, "user-data"), UserData(vm), cancel);
            await File.WriteAllTextAsync(Path.Combine(files, "meta-data"), MetaData(vm), cancel);
            await File.WriteAllTextAsync(Path.Combine(files, "network-config"), NetworkConfig(vm), cancel);
            var iso = Path.Combine(folder, "seed.iso");
            await new Command("genisoimage", "-quiet", "-output", iso, "-volid", "cidata", "-joliet", "-rock", files)
            { Timeout = TimeSpan.FromSeconds(10) }.RunAsync(cancel);
            File.SetUnixFileMode(iso, (UnixFileMode)0b110_100_100);
            File.Move(iso, file, overwrite: true);
        }
        finally
        {
            if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        }
    }

    static string Quote(string text) => JsonSerializer.Serialize(text, Plain);
}
