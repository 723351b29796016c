using System.Globalization;
using System.Net;

namespace Capsul.Foundation;

/// <summary>What each setting may be.</summary>
public sealed partial class Settings
{
    /// <summary>
    /// What is not set holds (a test says so of every default), and to look at it would cost each call on the command
    /// line the loading of what reads addresses and networks.
    /// </summary>
    void Check()
    {
        OneOf("CAPSUL_ENVIRONMENT", "production", "development");
        OneOf("CAPSUL_POSTGRES_FSYNC", "on", "off");
        OneOf("CAPSUL_DUMP_BEFORE_UPGRADE", "on", "off");
        OneOf("CAPSUL_DATABASE_TLS", "disable", "prefer", "require", "verify-ca", "verify-full");
        Must("CAPSUL_DATABASE", Database is null || DatabaseHost is null,
            "the complete address, or unset if CAPSUL_DATABASE_HOST is set");
        OneOf("CAPSUL_SMTP_TLS", "starttls", "tls", "none");
        OneOf("CAPSUL_HYPERVISOR", "libvirt", "simulated");
        Must("CAPSUL_VM_NETWORK6", !IsSet("CAPSUL_VM_NETWORK6") || Text("CAPSUL_VM_NETWORK6") is "auto" or "off"
            || IPNetwork.TryParse(Text("CAPSUL_VM_NETWORK6"), out var six) && six.PrefixLength == 64
                && six.BaseAddress is { IsIPv6LinkLocal: false, IsIPv6Multicast: false },
            "an IPv6 network of size /64, auto or off");
        OneOf("CAPSUL_NETWORK", "private", "routed", "nat", "bridged");
        Must("CAPSUL_NETWORK", Text("CAPSUL_NETWORK") == "private" || Libvirt == "private",
            "private unless CAPSUL_LIBVIRT is private");
        OneOf("CAPSUL_OUTBOUND", "on", "off");
        OneOf("CAPSUL_OUTBOUND_MAIL", "on", "off");
        Must("CAPSUL_VM_RESOLVER", !IsSet("CAPSUL_VM_RESOLVER") || VmResolver == "auto"
            || IPAddress.TryParse(VmResolver, out var resolver)
                && resolver.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork, "an IPv4 address, or auto");
        OneOf("CAPSUL_KVM", "auto", "on", "off");
        OneOf("CAPSUL_PUBLIC_LEDGER", "on", "off");
        OneOf("CAPSUL_APPROVE_ACCOUNTS", "on", "off");
        Must("CAPSUL_SITE_NAME", SiteName.Length <= 60 && !SiteName.Any(char.IsControl), "at most 60 characters");
        Must("CAPSUL_CURRENCY", !IsSet("CAPSUL_CURRENCY") || ParseCurrency(Text("CAPSUL_CURRENCY")) is not null,
            "a code of three capital letters, a symbol of at most four characters, and the number of decimal places (0 "
            + "to 2), separated by spaces, such as EUR € 2");
        CheckPayments();
        foreach (var name in (string[])["CAPSUL_LISTEN", "CAPSUL_LINK_LISTEN", "CAPSUL_RELAY_ADDRESS",
            "CAPSUL_HUB_PORTS_LISTEN"])
            Must(name, !IsSet(name) || IPAddress.TryParse(Text(name), out _), "an IP address");
        // Development shows every email, with its sign-in link, to everyone.
        Must("CAPSUL_LISTEN", !Development || IPAddress.IsLoopback(Listen),
            "127.0.0.1 or ::1 while CAPSUL_ENVIRONMENT is development, which signs in anybody who can open its pages");
        Must("CAPSUL_TRUSTED_PROXIES",
            !IsSet("CAPSUL_TRUSTED_PROXIES") || ParseNetworks(Text("CAPSUL_TRUSTED_PROXIES")) is not null,
            "networks separated by commas, such as 10.1.2.0/24, or none");
        foreach (var name in (string[])["CAPSUL_PORT", "CAPSUL_LINK_PORT", "CAPSUL_SMTP_PORT", "CAPSUL_DATABASE_PORT"])
            InRange(name, 0, 65535);
        InRange("CAPSUL_MAX_VMS", 0, 10_000);
        InRange("CAPSUL_CLOSING_DAYS", 0, 365);
        InRange("CAPSUL_TRAFFIC_GIB", 0, 1 << 24);
        InRange("CAPSUL_ALERT_CPU_PERCENT", 0, 100);
        InRange("CAPSUL_ALERT_CPU_HOURS", 1, 8_760);
        InRange("CAPSUL_ALERT_CONNECTIONS", 0, 1 << 30);
        InRange("CAPSUL_KEEP_RECEIPTS_YEARS", 0, 100);
        InRange("CAPSUL_MAX_CONNECTIONS", 1, 1_000_000);
        InRange("CAPSUL_BACKUP_KEEP_DAYS", 0, 36_500);
        Must("CAPSUL_DISK_OVERCOMMIT", !IsSet("CAPSUL_DISK_OVERCOMMIT")
            || decimal.TryParse(Text("CAPSUL_DISK_OVERCOMMIT"), NumberStyles.AllowDecimalPoint,
                CultureInfo.InvariantCulture, out var factor) && factor is >= 1 and <= 100, "a number from 1 to 100");
        if (Text("CAPSUL_BUILD_SLOTS") != "auto") InRange("CAPSUL_BUILD_SLOTS", 1, 1000);
        InRange("CAPSUL_CREATE_DEADLINE_SECONDS", 5, 86_400);
        InRange("CAPSUL_STOP_GRACE_SECONDS", 0, 3_600);
        InRange("CAPSUL_MEMORY_RESERVE_MB", 0, 1 << 24);
        Must("CAPSUL_VM_NETWORK", !IsSet("CAPSUL_VM_NETWORK")
            || IPNetwork.TryParse(Text("CAPSUL_VM_NETWORK"), out var net) && net.PrefixLength is >= 16 and <= 29,
            "an IPv4 network of size /16 to /29, such as 10.77.0.0/24");
        Must("CAPSUL_SSH_HOST",
            !IsSet("CAPSUL_SSH_HOST") && !IsSet("CAPSUL_RELAY_ADDRESS") || IsReachableName(SshHost),
            "a DNS name or an IP address that people can reach, such as ssh.example.org");
        Must("CAPSUL_RELAY_PORTS", ParsePorts(Text("CAPSUL_RELAY_PORTS")) is not null,
            "two ports, such as 22000-22999");
        foreach (var name in (string[])["CAPSUL_FORWARD_PORTS", "CAPSUL_HUB_PORTS"])
            Must(name, !IsSet(name) || Text(name) == "off" || ParsePorts(Text(name)) is not null,
                "two ports, such as 31000-31999, or off");
        Must("CAPSUL_HUB_PORTS_HOST", !IsSet("CAPSUL_HUB_PORTS_HOST") || IsReachableName(HubPortsHost),
            "a DNS name or an IP address that people can reach, such as ports.example.org");
        InRange("CAPSUL_MAX_PORTS", 0, 10_000);
        InRange("CAPSUL_MAX_ADDRESSES", 0, 10_000);
        CheckBridge();
        CheckVmDomain();
        CheckDns();
        if (Optional("CAPSUL_BASE_URL") is { } url)
            Must("CAPSUL_BASE_URL", Uri.TryCreate(url, UriKind.Absolute, out var uri)
                && uri.Scheme is "http" or "https", "an http or https address");
        if (SecretKey is { } key)
            Must("CAPSUL_SECRET_KEY", Convert.TryFromBase64String(key, new byte[key.Length], out var count)
                && count == 32, "32 bytes in base64");
    }

    void CheckPayments()
    {
        foreach (var name in (string[])["CAPSUL_PAYMENT_LEAST", "CAPSUL_PAYMENT_MOST"])
            Must(name, !IsSet(name) || Amount(name) is > 0 and <= 1_000_000,
                "an amount up to 1000000, such as 5 or 7.50");
        Must("CAPSUL_PAYMENT_MOST", !IsSet("CAPSUL_PAYMENT_LEAST") && !IsSet("CAPSUL_PAYMENT_MOST")
            || PaymentMost >= PaymentLeast, "at least CAPSUL_PAYMENT_LEAST");
        Must("CAPSUL_TRIAL_AMOUNT", !IsSet("CAPSUL_TRIAL_AMOUNT") || Amount("CAPSUL_TRIAL_AMOUNT") is { } trial
            && trial is >= 0 and <= 10_000 && trial == decimal.Round(trial, Currency.Decimals),
            "an amount up to 10000, such as 5 or 7.50, or 0");
        InRange("CAPSUL_TRIAL_DAYS", 1, 3650);
        // Money is counted on what they say, and a secret key is sent there.
        foreach (var name in (string[])["CAPSUL_STRIPE_API", "CAPSUL_BTCPAY_URL"])
            Must(name, !IsSet(name) || Uri.TryCreate(Text(name), UriKind.Absolute, out var api)
                && (api.Scheme == Uri.UriSchemeHttps || api is { Scheme: "http", IsLoopback: true }),
                "an https address, or one of this machine");
        Must("CAPSUL_BTCPAY_URL", !IsSet("CAPSUL_BTCPAY_URL")
            || IsSet("CAPSUL_BTCPAY_STORE") && IsSet("CAPSUL_BTCPAY_API_KEY"),
            "set together with CAPSUL_BTCPAY_STORE and CAPSUL_BTCPAY_API_KEY");
    }

    decimal? Amount(string name) => decimal.TryParse(Text(name), NumberStyles.AllowDecimalPoint,
        CultureInfo.InvariantCulture, out var amount) ? amount : null;

    /// <summary>The pages and the names of VMs are never the same site to a browser.</summary>
    void CheckVmDomain()
    {
        if (VmDomain is { } domain)
            Must("CAPSUL_VM_DOMAIN", Uri.CheckHostName(domain) == UriHostNameType.Dns && !domain.StartsWith('.')
                && (BaseUrl?.Host.ToLowerInvariant() is not { } pages
                    || (pages != domain && !pages.EndsWith("." + domain, StringComparison.Ordinal))),
                "a domain such as vms.example.org in which the pages (CAPSUL_BASE_URL) are not");
        if (Text("CAPSUL_VM_HTTPS_PORT") == "off") return;
        InRange("CAPSUL_VM_HTTPS_PORT", 1, 65535);
        Must("CAPSUL_VM_HTTPS_PORT", VmDomain is not null && VmCertificate is not null && VmCertificateKey is not null,
            "off unless CAPSUL_VM_DOMAIN, CAPSUL_VM_CERTIFICATE and CAPSUL_VM_CERTIFICATE_KEY are set");
    }

    void CheckDns()
    {
        Must("CAPSUL_DNS_SERVER", DnsServer is null || IsReachableName(DnsServer),
            "the name or the address of a DNS server, such as ns1.example.org");
        InRange("CAPSUL_DNS_PORT", 1, 65535);
        InRange("CAPSUL_DNS_TTL", 60, 604_800);
        Must("CAPSUL_DNS_KEY", DnsKey is not null || (DnsServer is null && Optional("CAPSUL_DNS_KEY") is null),
            "ALGORITHM:NAME:SECRET, such as hmac-sha256:capsul:c2VjcmV0, with the secret in base64, if "
            + "CAPSUL_DNS_SERVER is set");
    }

    /// <summary>Without what nsupdate would take for another command. SHA-1 and MD5 are not offered.</summary>
    static (string, string, string)? ParseDnsKey(string? text) =>
        text?.Split(':') is [var algorithm, { Length: > 0 and <= 253 } name, var secret]
        && algorithm is "hmac-sha224" or "hmac-sha256" or "hmac-sha384" or "hmac-sha512"
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
        && secret.All(c => char.IsAsciiLetterOrDigit(c) || c is '+' or '/' or '=')
        && Convert.TryFromBase64String(secret, new byte[secret.Length], out var bytes) && bytes > 0
            ? (algorithm, name, secret) : null;

    /// <summary>
    /// Whether it can be used in an ssh command: not "any address", and nothing that a shell or ssh would interpret.
    /// </summary>
    static bool IsReachableName(string text) => IPAddress.TryParse(text, out var address)
        ? !address.Equals(IPAddress.Any) && !address.Equals(IPAddress.IPv6Any)
        : Uri.CheckHostName(text) == UriHostNameType.Dns && text[0] != '-';

    void OneOf(string name, params string[] allowed) =>
        Must(name, allowed.Contains(Text(name), StringComparer.Ordinal), string.Join(" or ", allowed));

    void InRange(string name, int least, int most) =>
        Must(name, int.TryParse(Text(name), CultureInfo.InvariantCulture, out var n) && n >= least && n <= most,
            $"a number from {least} to {most}");

    void Must(string name, bool holds, string what)
    {
        if (holds) return;
        var shown = All.First(s => s.Name == name).Secret
            ? "its value"
            : $"\"{Optional(name) ?? All.First(s => s.Name == name).Default ?? SshHost}\"";
        throw new ProblemException(ProblemKind.Invalid, $"{name} must be {what}; {shown} is not.");
    }

    static (string, string, int)? ParseCurrency(string text) =>
        text.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            is [{ Length: 3 } code, { Length: <= 4 } symbol, var places]
        && code.All(char.IsAsciiLetterUpper) && int.TryParse(places, CultureInfo.InvariantCulture, out var decimals)
        && decimals is >= 0 and <= 2 ? (code, symbol, decimals) : null;

    /// <summary>Networks, or single addresses; null when one of them is neither.</summary>
    static IPNetwork[]? ParseNetworks(string text)
    {
        if (text == "none") return [];
        var parts = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        var networks = parts.Select(p => IPNetwork.TryParse(p, out var network) ? network
            : IPAddress.TryParse(p, out var one) ? new IPNetwork(one, one.GetAddressBytes().Length * 8)
            : (IPNetwork?)null).ToArray();
        return Array.TrueForAll(networks, n => n is not null) ? [.. networks.Select(n => n!.Value)] : null;
    }

    static (int, int)? ParsePorts(string text) =>
        text.Split('-') is [var a, var b] && int.TryParse(a, CultureInfo.InvariantCulture, out var first)
        && int.TryParse(b, CultureInfo.InvariantCulture, out var last)
        && first is >= 1 and <= 65535 && last >= first && last <= 65535
            ? (first, last) : null;
}
