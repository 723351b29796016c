using System.Net;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Spoke.Vms;

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
        var commands = vm.Further.Select(a => UseAddress(vm.Mac, a)).ToList();
        if (vm.KeySet is { } set) commands.Insert(0, TakeKeys(set, vm.SshKeys));
        if (commands.Count > 0) text.Append("bootcmd:\n");
        foreach (var command in commands) text.Append($"  - [sh, -c, {Quote(command)}]\n");
        return text.ToString();
    }

    /// <summary>
    /// Gives the guest's network card a further address, at every boot: cloud-init does not change the network of an
    /// instance that it has set up, and DHCP serves one address.
    /// </summary>
    internal static string UseAddress(string mac, IPAddress address) =>
        $"for i in /sys/class/net/*; do [ \"$(cat $i/address)\" != {mac} ] "
            + $"|| ip address replace {address}/32 dev ${{i##*/}}; done";

    /// <summary>
    /// Replaces the keys of the login user, once, and says so on the console at every boot. With the same instance ID
    /// as before: cloud-init does nothing else anew, so host keys, host name and passwords stay. It reads the seed at
    /// every boot, and runs bootcmd each time (frequency "always",
    /// https://docs.cloud-init.io/en/22.4.2/topics/modules.html#bootcmd).
    /// </summary>
    internal static string TakeKeys(KeySet set, IReadOnlyList<string> keys)
    {
        var lines = Convert.ToBase64String(Encoding.UTF8.GetBytes(string.Concat(keys.Select(k => k.Trim() + "\n"))));
        return $"f={Taken}; [ \"$(cat $f 2>/dev/null)\" = {set.Number} ] || {{ "
            + $"h=$(getent passwd {set.LoginUser} | cut -d: -f6) && [ -n \"$h\" ] && mkdir -p \"$h/.ssh\" "
            + $"&& printf %s {lines} | base64 -d >\"$h/.ssh/authorized_keys\" && chmod 700 \"$h/.ssh\" "
            + $"&& chmod 600 \"$h/.ssh/authorized_keys\" && chown -R {set.LoginUser}: \"$h/.ssh\" "
            + $"&& echo {set.Number} >$f; }} && echo \"{ConsoleText.KeySetLine(set.Number)}\" >/dev/console";
    }

    /// <summary>The number of the last key set that a guest with cloud-init has taken.</summary>
    const string Taken = "/var/lib/capsul-keys";

    public static string MetaData(VmSpec vm) => $"instance-id: {vm.Id}\nlocal-hostname: {HostName(vm.Name)}\n"
        + (vm.KeySet is { } set ? KeySetLine(set) : "") + (vm.Further.Count > 0 ? FurtherLine(vm) : "");

    static string KeySetLine(KeySet set) => $"capsul-keys: {set.Number}\n";

    static string FurtherLine(VmSpec vm) => $"{FurtherMark}{string.Join(' ', vm.Further)}\n";

    const string FurtherMark = "capsul-addresses: ";

    /// <summary>
    /// Whether a seed is of the VM's key set and further addresses. It says so itself, in files that an ISO has as they
    /// are: nothing is written down beside it that could be wrong.
    /// </summary>
    public static async Task<bool> IsCurrentAsync(VmSpec vm, string file, CancellationToken cancel)
    {
        var bytes = await File.ReadAllBytesAsync(file, cancel);
        return (vm.KeySet is not { } set || Has(KeySetLine(set)))
            && (vm.Further.Count > 0 ? Has(FurtherLine(vm)) : !Has(FurtherMark));

        bool Has(string text) => bytes.AsSpan().IndexOf(Encoding.ASCII.GetBytes(text)) >= 0;
    }

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
