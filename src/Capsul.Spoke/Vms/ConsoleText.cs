using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>Parses the text of a serial console.</summary>
public static partial class ConsoleText
{
    const string Begin = "-----BEGIN SSH HOST KEY KEYS-----", End = "-----END SSH HOST KEY KEYS-----";

    /// <summary>
    /// The last complete block of host keys on the console, as cloud-init prints them (its module keys_to_console): one
    /// public key per line between two markers. Empty if there is none yet. Other lines are skipped.
    /// </summary>
    public static IReadOnlyList<SshHostKey> HostKeys(string console)
    {
        var end = console.LastIndexOf(End, StringComparison.Ordinal);
        var begin = end < 0 ? -1 : console.LastIndexOf(Begin, end, StringComparison.Ordinal);
        if (begin < 0) return [];
        var keys = new Dictionary<string, SshHostKey>(StringComparer.Ordinal);
        foreach (Match match in KeyLine().Matches(console[(begin + Begin.Length)..end]))
            keys[match.Groups["type"].Value] =
                new SshHostKey { Type = match.Groups["type"].Value, Key = match.Groups["key"].Value };
        return [.. keys.Values];
    }

    /// <summary>What a guest prints that has taken a key set.</summary>
    public static string KeySetLine(long number) =>
        string.Create(CultureInfo.InvariantCulture, $"-----CAPSUL SSH KEYS {number}-----");

    /// <summary>The last key set that the guest has said to have; 0: none.</summary>
    public static long KeySet(string console) => KeySetLines().Matches(console) is [.., var last]
        && long.TryParse(last.Groups["number"].Value, CultureInfo.InvariantCulture, out var number) ? number : 0;

    /// <summary>
    /// The last lines, at most <paramref name="maxBytes"/> bytes, without terminal control sequences.
    /// </summary>
    public static string Tail(string console, int maxBytes)
    {
        var text = Controls().Replace(Escapes().Replace(console, ""), "");
        while (Encoding.UTF8.GetByteCount(text) > maxBytes)
        {
            var next = text.IndexOf('\n', StringComparison.Ordinal);
            text = next >= 0 && next < text.Length - 1 ? text[(next + 1)..] : text[(text.Length / 2)..];
        }
        return text;
    }

    [GeneratedRegex(@"(?<type>(ssh|ecdsa|sk)-[a-z0-9@.-]{3,60}) (?<key>AAAA[A-Za-z0-9+/]{20,4000}={0,2})",
        RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex KeyLine();

    [GeneratedRegex("-----CAPSUL SSH KEYS (?<number>[0-9]{1,18})-----",
        RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex KeySetLines();

    /// <summary>ECMA-48 control sequences and the few other escapes that boot messages use.</summary>
    [GeneratedRegex(@"\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\^_]|\][^\x07\x1b]*(\x07|\x1b\\))",
        RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Escapes();

    [GeneratedRegex(@"[\x00-\x08\x0b-\x1f\x7f]", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Controls();
}
