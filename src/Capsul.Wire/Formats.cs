using System.Net;
using System.Text.RegularExpressions;

namespace Capsul.Wire;

/// <summary>
/// Formats of names and addresses on the link. Both ends validate what they receive: an ID becomes a file name and a
/// domain name, a MAC address becomes part of a firewall rule, a host name becomes part of a command that people copy.
/// </summary>
public static partial class Formats
{
    /// <summary>Maximum length of an SSH public key in base64; RSA with 16384 bits takes 2.8 kB.</summary>
    public const int MaxKeyChars = 8 * 1024;

    /// <summary><c>capsul-</c> and ten of [a-z0-9].</summary>
    public static bool IsVmId(string text) => VmId().IsMatch(text);

    /// <summary>1 to 63 lower-case letters, digits and hyphens, with neither end a hyphen (RFC 1123, 2.1).</summary>
    public static bool IsLabel(string text) => Label().IsMatch(text);

    /// <summary>
    /// Labels joined by dots, at most 253 characters, not all digits: a DNS name that no tool mistakes for an option or
    /// address.
    /// </summary>
    public static bool IsDnsName(string text) => text.Length <= 253 && DnsName().IsMatch(text);

    /// <summary>Six pairs of lower-case hex digits with colons; a unicast address.</summary>
    public static bool IsMac(string text) => Mac().IsMatch(text);

    /// <summary>Lower-case hex digits with hyphens.</summary>
    public static bool IsUuid(string text) => Guid.TryParseExact(text, "D", out var id) && id.ToString() == text;

    public static bool IsImageId(string text) => ImageId().IsMatch(text);

    /// <summary>32 bytes in lower-case hex.</summary>
    public static bool IsSha256(string text) => Sha256().IsMatch(text);

    /// <summary>16 random bytes in lower-case hex.</summary>
    public static bool IsTransferId(string text) => TransferId().IsMatch(text);

    /// <summary>The name of a Unix account, as useradd accepts it by default.</summary>
    public static bool IsLoginUser(string text) => LoginUser().IsMatch(text);

    /// <summary>An authorized key: one line of type and base64, without options.</summary>
    public static bool IsKeyLine(string text) => text.Length <= MaxKeyChars + 64
        && text.Split(' ') is [{ Length: > 0 } type, { Length: > 0 } key]
        && type.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '@' or '.')
        && key.All(c => char.IsAsciiLetterOrDigit(c) || c is '+' or '/' or '=');

    /// <summary>A rule of a firewall: it becomes part of the host's packet filter.</summary>
    public static bool IsRule(FirewallRule rule) =>
        rule.Protocol is IpProtocol.Tcp or IpProtocol.Udp
        && rule.FirstPort is >= 1 and <= 65535 && rule.LastPort >= rule.FirstPort && rule.LastPort <= 65535
        && (rule.Source.Length == 0 || (IPNetwork.TryParse(rule.Source, out var network)
            && !network.BaseAddress.IsIPv4MappedToIPv6
            && !rule.Source.Contains('%', StringComparison.Ordinal)));

    [GeneratedRegex(@"\Acapsul-[a-z0-9]{10}\z", RegexOptions.None, 1000)]
    private static partial Regex VmId();

    [GeneratedRegex(@"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Label();

    [GeneratedRegex(@"\A([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z",
        RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex DnsName();

    [GeneratedRegex(@"\A[0-9a-f][02468ace](:[0-9a-f]{2}){5}\z", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Mac();

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9.-]{0,62}\z", RegexOptions.None, 1000)]
    private static partial Regex ImageId();

    [GeneratedRegex(@"\A[0-9a-f]{64}\z", RegexOptions.None, 1000)]
    private static partial Regex Sha256();

    [GeneratedRegex(@"\A[0-9a-f]{32}\z", RegexOptions.None, 1000)]
    private static partial Regex TransferId();

    [GeneratedRegex(@"\A[a-z_][a-z0-9_-]{0,31}\z", RegexOptions.None, 1000)]
    private static partial Regex LoginUser();
}
