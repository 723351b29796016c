using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;

namespace Capsul.Hub.Features.Firewalls;

/// <summary>New connections to these ports pass.</summary>
/// <param name="Protocol">tcp or udp.</param>
/// <param name="Source">A network of either family; empty: from anywhere.</param>
public sealed record FirewallRule(string Protocol, int First, int Last, string Source)
{
    const int MostPort = 65535;

    public string Ports => First == Last ? $"{First}" : $"{First}-{Last}";

    /// <summary>As people write it, and as it is parsed again.</summary>
    public override string ToString() => $"{Protocol} {Ports}{(Source.Length > 0 ? $" from {Source}" : "")}";

    /// <summary>One line of <see cref="FirewallSql.RuleLines"/>.</summary>
    public static FirewallRule Read(string line)
    {
        var words = line.Split(' ');
        return new FirewallRule(words[0], int.Parse(words[1], CultureInfo.InvariantCulture),
            int.Parse(words[2], CultureInfo.InvariantCulture), words.Length > 3 ? words[3] : "");
    }

    /// <param name="protocol">tcp or udp.</param>
    /// <param name="ports">A port, or two with a hyphen.</param>
    /// <param name="source">An address or a network; blank, any or anywhere: from anywhere.</param>
    public static Outcome<FirewallRule> Parse(string? protocol, string? ports, string? source)
    {
        var kind = protocol?.Trim().ToLowerInvariant();
        if (kind is not ("tcp" or "udp")) return Wrong("Protocol", "The protocol is tcp or udp.");
        var ends = (ports ?? "").Split('-', StringSplitOptions.TrimEntries);
        if (ends.Length > 2 || !IsPort(ends[0], out var first) || !IsPort(ends[^1], out var last) || last < first)
            return Wrong("Ports", $"Give a port from 1 to {MostPort}, such as 80, or a range, such as 8000-8010.");
        var from = source?.Trim() ?? "";
        if (from.Length == 0 || from is "any" or "anywhere") return new FirewallRule(kind, first, last, "");
        return Network(from) is { } network ? new FirewallRule(kind, first, last, network)
            : Wrong("Source", "Give an address, such as 203.0.113.5, or a network, such as 203.0.113.0/24 or "
                + "2001:db8::/32, or nothing for anywhere.");
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    static bool IsPort(string text, out int port) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port is >= 1 and <= MostPort;

    /// <summary>The network that an address with or without a prefix length is in; null if it is neither.</summary>
    static string? Network(string text)
    {
        var parts = text.Split('/');
        if (parts.Length > 2 || text.Contains('%', StringComparison.Ordinal)
            || !IPAddress.TryParse(parts[0], out var address) || address.IsIPv4MappedToIPv6
            || (address.AddressFamily == AddressFamily.InterNetwork && parts[0].Count(c => c == '.') != 3)) return null;
        var bytes = address.GetAddressBytes();
        var bits = bytes.Length * 8;
        if (parts.Length == 2 && (!int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out bits)
            || bits > bytes.Length * 8)) return null;
        for (var n = 0; n < bytes.Length; n++)
            bytes[n] &= (byte)~(0xff >> Math.Clamp(bits - n * 8, 0, 8));
        return $"{new IPAddress(bytes)}/{bits}";
    }
}
