using System.Globalization;
using System.Net;

namespace Capsul.Foundation;

/// <summary>
/// One thing that can be configured: an environment variable, or a line of <c>capsul.conf</c> in the data folder.
/// </summary>
/// <param name="Name">The variable.</param>
/// <param name="Default">The value if it is not set; null: none.</param>
/// <param name="Description">One or two sentences for the reference.</param>
/// <param name="Secret">May come from a file through the same name with <c>_FILE</c>; never printed.</param>
public sealed record Setting(string Name, string? Default, string Description, bool Secret = false);

/// <summary>
/// All settings of the program, on one page and typed. The order of precedence: environment, then <c>capsul.conf</c>,
/// then the default. A blank value counts as unset. A CAPSUL_ name that is not in the list is refused, because it is a
/// typo. <c>docs/configuration.md</c> is generated from this list.
/// </summary>
public sealed class Settings
{
    public static readonly IReadOnlyList<Setting> All =
    [
        new("CAPSUL_DATA", null,
            "Folder for all of Capsul's data. Default: /var/lib/capsul for root, else ~/.local/share/capsul."),
        new("CAPSUL_CONFIG", null,
            "File with further settings; none: no file. Default: capsul.conf in the data folder."),
        new("CAPSUL_HUB_USER", "capsul",
            "User that the Hub runs as when root starts it; created if it is missing. root: no change of user."),
        new("CAPSUL_ENVIRONMENT", "production",
            "production or development. Development shows emails on a page when no SMTP server is set, and offers "
            + "play money."),
        new("CAPSUL_LISTEN", "127.0.0.1",
            "Address on which the web pages listen. Put a reverse proxy with TLS in front, or set 0.0.0.0."),
        new("CAPSUL_PORT", "8080", "Port of the web pages; 0 picks a free one."),
        new("CAPSUL_TRUSTED_PROXIES", "127.0.0.0/8, ::1/128",
            "Networks of the reverse proxies in front of the pages, separated by commas; none for no proxy. "
                + "Only they are trusted for the client's address (X-Forwarded-For) and TLS (X-Forwarded-Proto)."),
        new("CAPSUL_BASE_URL", null,
            "Public address of the pages, used for links in emails. Default: http://127.0.0.1:PORT. With https, "
            + "cookies are sent over TLS only."),
        new("CAPSUL_LINK_LISTEN", "127.0.0.1",
            "Address on which the Hub listens for Spokes. Set 0.0.0.0 to let other machines join."),
        new("CAPSUL_LINK_PORT", "8443",
            "Port on which the Hub listens for Spokes (gRPC over TLS); 0 picks a free one."),
        new("CAPSUL_LINK_ADDRESS", null, "host:port included in join tokens. Default: 127.0.0.1 and the link port."),
        new("CAPSUL_DATABASE", null, "An external PostgreSQL (14 or newer), as one string: "
            + "postgres://user:password@host:port/database?sslmode=require, or Npgsql's Host=…;Database=…. Several "
            + "hosts, separated by commas, fail over. Without it and without CAPSUL_DATABASE_HOST, Capsul runs a "
            + "private cluster in the data folder.", Secret: true),
        new("CAPSUL_DATABASE_HOST", null,
            "In parts instead: host name, address or socket folder. Several, separated by commas and each with "
            + ":port if it needs one, fail over."),
        new("CAPSUL_DATABASE_PORT", "5432", "Port, for hosts that do not include one."),
        new("CAPSUL_DATABASE_NAME", "capsul", "Name of the database."),
        new("CAPSUL_DATABASE_USER", "capsul", "User."),
        new("CAPSUL_DATABASE_PASSWORD", null,
            "Password. Overrides the one in CAPSUL_DATABASE, so that the string itself need not be "
            + "secret.", Secret: true),
        new("CAPSUL_DATABASE_TLS", "prefer", "disable, prefer, require, verify-ca or verify-full, as libpq's sslmode."),
        new("CAPSUL_DATABASE_ROOT_CERTIFICATE", null,
            "CA certificate file for verifying the server's certificate, for verify-ca and verify-full. Unset: the "
            + "system's trusted CAs."),
        new("CAPSUL_POSTGRES_BIN", null,
            "Folder with initdb and postgres for the private cluster. Default: the newest under /usr/lib/postgresql."),
        new("CAPSUL_POSTGRES_FSYNC", "on",
            "on or off. Turn off only where losing all data in a power failure is acceptable (tests)."),
        new("CAPSUL_DUMP_BEFORE_UPGRADE", "on",
            "on or off. On: before upgrading the schema of a database that holds data, a compressed dump is "
            + "written to the backup folder. Before a downgrade it is always written."),
        new("CAPSUL_BACKUP_FOLDER", null, "Where backups go. Default: backups in the data folder."),
        new("CAPSUL_BACKUP_SCHEDULE", "30 3 * * *",
            "When the active Hub takes a backup: a five-field cron expression in UTC. off: manual backups only."),
        new("CAPSUL_BACKUP_KEEP_DAYS", "30",
            "Scheduled backups older than this are deleted after the next one succeeded; at least two verified "
            + "ones are kept. 0: never deleted."),
        new("CAPSUL_BACKUP_ENCRYPT_TO", null, "Recipient of scheduled backups: an age public key (age1…) or ssh public "
            + "key, or a gpg key id or address. Unset: not encrypted."),
        new("CAPSUL_OPERATOR_EMAIL", null,
            "The operators: email addresses, separated by commas. They are emailed when an alert is raised, and "
            + "their accounts see the pages under /operator. Unset: nobody."),
        new("CAPSUL_SECRET_KEY", null,
            "Key that protects secrets in the database (32 bytes, base64). Default: generated at "
            + "first start and kept in the data folder. All Hubs on one database need the same key.", Secret: true),
        new("CAPSUL_SMTP_HOST", null,
            "SMTP server for outgoing email. Unset: emails are shown on a page (development) or kept in the "
            + "outbox (production)."),
        new("CAPSUL_SMTP_PORT", "587", "Port of the SMTP server."),
        new("CAPSUL_SMTP_TLS", "starttls", "starttls, tls or none."),
        new("CAPSUL_SMTP_USER", null, "User for the SMTP server."),
        new("CAPSUL_SMTP_PASSWORD", null, "Password for the SMTP server.", Secret: true),
        new("CAPSUL_MAIL_FROM", "Capsul <no-reply@localhost>", "Sender address of emails."),
        new("CAPSUL_SUPPORT_EMAIL", "support@localhost", "Address shown on the support page."),
        new("CAPSUL_MAX_VMS", "10", "Maximum number of VMs per account."),
        new("CAPSUL_DISK_OVERCOMMIT", "2",
            "Disk overcommit ratio of a host: the total size of VM disks, as a multiple of its file system's size. "
            + "Disks are thinly provisioned and grow as they fill. 1: no overcommit."),
        new("CAPSUL_MAX_CONNECTIONS", "10000",
            "Maximum number of connections to the web pages, and as many to the link; more are closed immediately."),
        new("CAPSUL_CREATE_DEADLINE_SECONDS", "300",
            "How long a new VM may take until SSH responds; after that it is rolled back and nothing is charged. "
            + "Unless it is set, hosts without KVM get four times as long."),
        new("CAPSUL_STOP_GRACE_SECONDS", "60", "How long a guest may take to shut down before it is powered off."),
        new("CAPSUL_HYPERVISOR", "libvirt", "libvirt, or simulated (no real VMs; for trying out the pages)."),
        new("CAPSUL_LIBVIRT", "private",
            "private: Capsul runs its own libvirtd in its own network namespace. Or a libvirt URI such as "
            + "qemu:///system."),
        new("CAPSUL_VM_NETWORK", "10.77.0.0/24", "IPv4 network of the VMs on this host."),
        new("CAPSUL_RELAY_ADDRESS", "127.0.0.1", "Address on which the Spoke relays a port to each VM's SSH."),
        new("CAPSUL_SSH_HOST", null,
            "Public name or address of those ports, shown in the ssh command. Default: CAPSUL_RELAY_ADDRESS. "
            + "Required when that is 0.0.0.0 or ::."),
        new("CAPSUL_RELAY_PORTS", "22000-22999", "Port range for that relay, first-last."),
        new("CAPSUL_IMAGES", null, "Folder of VM images. Default: images in the data folder."),
        new("CAPSUL_MEMORY_RESERVE_MB", "1024", "Host memory reserved from VMs, MiB."),
        new("CAPSUL_KVM", "auto", "auto: KVM only if a probe boot succeeds, else TCG. on or off: no probe."),
    ];

    readonly Dictionary<string, string> values;

    Settings(Dictionary<string, string> values) => this.values = values;

    /// <summary>Reads environment and <c>capsul.conf</c>, and checks every value.</summary>
    /// <exception cref="ProblemException">Invalid, naming the setting and what it may be.</exception>
    public static Settings Load(IReadOnlyDictionary<string, string> environment)
    {
        var found = Known(environment, "the environment");
        var data = found.GetValueOrDefault("CAPSUL_DATA") ?? DefaultData();
        found["CAPSUL_DATA"] = Path.GetFullPath(data);
        var file = found.GetValueOrDefault("CAPSUL_CONFIG") ?? Path.Combine(data, "capsul.conf");
        if (file != "none" && File.Exists(file))
        {
            foreach (var (name, value) in Known(ReadFile(file), file))
                found.TryAdd(name, value);
        }
        var settings = new Settings(found);
        settings.Check();
        return settings;
    }

    /// <summary>From this process's environment.</summary>
    public static Settings Load() =>
        Load(System.Environment.GetEnvironmentVariables().Cast<System.Collections.DictionaryEntry>()
            .Where(e => ((string)e.Key).StartsWith("CAPSUL_", StringComparison.Ordinal))
            .ToDictionary(e => (string)e.Key, e => (string?)e.Value ?? "", StringComparer.Ordinal));

    /// <summary>The same settings with some replaced; null removes one.</summary>
    public Settings With(params ReadOnlySpan<(string Name, string? Value)> changes)
    {
        var copy = new Dictionary<string, string>(values, StringComparer.Ordinal);
        foreach (var (name, value) in changes)
        {
            if (string.IsNullOrWhiteSpace(value)) copy.Remove(name);
            else copy[name] = value;
        }
        var settings = new Settings(copy);
        settings.Check();
        return settings;
    }

    /// <summary>Variables that make another process load the same settings.</summary>
    public IReadOnlyDictionary<string, string?> ToEnvironment() => All
        .SelectMany(s => s.Secret ? new[] { s.Name, $"{s.Name}_FILE" } : [s.Name])
        .ToDictionary(name => name, name => name == "CAPSUL_CONFIG" ? "none" : Optional(name), StringComparer.Ordinal);

    public string Data => values["CAPSUL_DATA"];
    public string HubUser => Text("CAPSUL_HUB_USER");
    public bool Development => Text("CAPSUL_ENVIRONMENT") == "development";
    public IPAddress Listen => IPAddress.Parse(Text("CAPSUL_LISTEN"));
    public int Port => Number("CAPSUL_PORT");
    public IReadOnlyList<IPNetwork> TrustedProxies => ParseNetworks(Text("CAPSUL_TRUSTED_PROXIES"))!;
    public Uri? BaseUrl => Optional("CAPSUL_BASE_URL") is { } url ? new Uri(url) : null;
    public IPAddress LinkListen => IPAddress.Parse(Text("CAPSUL_LINK_LISTEN"));
    public int LinkPort => Number("CAPSUL_LINK_PORT");
    public string? LinkAddress => Optional("CAPSUL_LINK_ADDRESS");
    public string? Database => Optional("CAPSUL_DATABASE");
    public string? DatabaseHost => Optional("CAPSUL_DATABASE_HOST");
    public int DatabasePort => Number("CAPSUL_DATABASE_PORT");
    public string DatabaseName => Text("CAPSUL_DATABASE_NAME");
    public string DatabaseUser => Text("CAPSUL_DATABASE_USER");
    public string? DatabasePassword => Optional("CAPSUL_DATABASE_PASSWORD");
    public string? DatabaseRootCertificate => Optional("CAPSUL_DATABASE_ROOT_CERTIFICATE");
    public string DatabaseTls => Text("CAPSUL_DATABASE_TLS");

    /// <summary>The database is an external server; otherwise it is the private cluster.</summary>
    public bool ExternalDatabase => Database is not null || DatabaseHost is not null;

    public bool DumpBeforeUpgrade => Text("CAPSUL_DUMP_BEFORE_UPGRADE") == "on";
    public string BackupFolder => Optional("CAPSUL_BACKUP_FOLDER") ?? Path.Combine(Data, "backups");
    public string? BackupSchedule => Text("CAPSUL_BACKUP_SCHEDULE") is var schedule and not "off" ? schedule : null;
    public int BackupKeepDays => Number("CAPSUL_BACKUP_KEEP_DAYS");
    public string? BackupEncryptTo => Optional("CAPSUL_BACKUP_ENCRYPT_TO");
    /// <summary>Lower case, as accounts are.</summary>
    public IReadOnlyList<string> OperatorEmails => (Optional("CAPSUL_OPERATOR_EMAIL")?.ToLowerInvariant() ?? "")
        .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
    public string? PostgresBin => Optional("CAPSUL_POSTGRES_BIN");
    public bool PostgresFsync => Text("CAPSUL_POSTGRES_FSYNC") == "on";
    public string? SecretKey => Optional("CAPSUL_SECRET_KEY");
    public string? SmtpHost => Optional("CAPSUL_SMTP_HOST");
    public int SmtpPort => Number("CAPSUL_SMTP_PORT");
    public string SmtpTls => Text("CAPSUL_SMTP_TLS");
    public string? SmtpUser => Optional("CAPSUL_SMTP_USER");
    public string? SmtpPassword => Optional("CAPSUL_SMTP_PASSWORD");
    public string MailFrom => Text("CAPSUL_MAIL_FROM");
    public string SupportEmail => Text("CAPSUL_SUPPORT_EMAIL");
    public int MaxConnections => Number("CAPSUL_MAX_CONNECTIONS");
    public int MaxVms => Number("CAPSUL_MAX_VMS");
    public decimal DiskOvercommit => decimal.Parse(Text("CAPSUL_DISK_OVERCOMMIT"), CultureInfo.InvariantCulture);
    public TimeSpan CreateDeadline => TimeSpan.FromSeconds(Number("CAPSUL_CREATE_DEADLINE_SECONDS"));
    public bool CreateDeadlineIsSet => Optional("CAPSUL_CREATE_DEADLINE_SECONDS") is not null;
    public TimeSpan StopGrace => TimeSpan.FromSeconds(Number("CAPSUL_STOP_GRACE_SECONDS"));
    public bool Simulated => Text("CAPSUL_HYPERVISOR") == "simulated";
    public string Libvirt => Text("CAPSUL_LIBVIRT");
    public IPNetwork VmNetwork => IPNetwork.Parse(Text("CAPSUL_VM_NETWORK"));
    public IPAddress RelayAddress => IPAddress.Parse(Text("CAPSUL_RELAY_ADDRESS"));
    public string SshHost => Optional("CAPSUL_SSH_HOST") ?? RelayAddress.ToString();
    public (int First, int Last) RelayPorts => ParsePorts(Text("CAPSUL_RELAY_PORTS"))!.Value;
    public string Images => Optional("CAPSUL_IMAGES") ?? Path.Combine(Data, "images");
    public int MemoryReserveMb => Number("CAPSUL_MEMORY_RESERVE_MB");
    public string Kvm => Text("CAPSUL_KVM");

    string Text(string name) => Optional(name) ?? All.First(s => s.Name == name).Default!;

    string? Optional(string name) => values.GetValueOrDefault(name);

    bool IsSet(string name) => values.ContainsKey(name);

    int Number(string name) => int.Parse(Text(name), CultureInfo.InvariantCulture);

    /// <summary>Default data folder of a Capsul that is started by root.</summary>
    public const string RootData = "/var/lib/capsul";

    static string DefaultData() => System.Environment.IsPrivilegedProcess
        ? RootData
        : Path.Combine(System.Environment.GetFolderPath(System.Environment.SpecialFolder.UserProfile),
            ".local/share/capsul");

    static Dictionary<string, string> ReadFile(string file)
    {
        var found = new Dictionary<string, string>(StringComparer.Ordinal);
        var number = 0;
        foreach (var raw in File.ReadAllLines(file))
        {
            number++;
            var line = raw.Trim();
            if (line.Length == 0 || line[0] == '#') continue;
            var equals = line.IndexOf('=', StringComparison.Ordinal);
            if (equals < 1)
                throw new ProblemException(
                    ProblemKind.Invalid, $"{file}, line {number}: expected NAME=value, found \"{line}\".");
            var value = line[(equals + 1)..].Trim();
            found[line[..equals].Trim()] = value is ['"', .. var quoted, '"'] ? quoted : value;
        }
        return found;
    }

    static Dictionary<string, string> Known(IReadOnlyDictionary<string, string> source, string where)
    {
        var known = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in source)
        {
            if (!name.StartsWith("CAPSUL_", StringComparison.Ordinal) || string.IsNullOrWhiteSpace(value)) continue;
            if (All.FirstOrDefault(s => s.Name == name) is { } setting)
                // A password may begin or end with a space, but never with a line end.
                known[name] = setting.Secret ? value.TrimEnd('\r', '\n') : value.Trim();
            else if (name.EndsWith("_FILE", StringComparison.Ordinal) && All.Any(s => s.Secret && s.Name == name[..^5]))
                known.TryAdd(name[..^5], ReadSecret(name, value.Trim()));
            else
                throw new ProblemException(ProblemKind.Invalid,
                    $"{name} in {where} is not a Capsul setting. Did you mean {Nearest(name)}?");
        }
        return known;
    }

    static string ReadSecret(string name, string file)
    {
        try
        {
            return File.ReadAllText(file).TrimEnd('\r', '\n');
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(
                ProblemKind.Invalid, $"{name} names {file}, which cannot be read: {error.Message}", null, error);
        }
    }

    static string Nearest(string name) => All.MinBy(s => Distance(s.Name, name))!.Name;

    /// <summary>Levenshtein's edit distance, for "did you mean".</summary>
    static int Distance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var above = row[j];
                row[j] = Math.Min(Math.Min(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }
        return row[^1];
    }

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
        OneOf("CAPSUL_KVM", "auto", "on", "off");
        foreach (var name in (string[])["CAPSUL_LISTEN", "CAPSUL_LINK_LISTEN", "CAPSUL_RELAY_ADDRESS"])
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
        InRange("CAPSUL_MAX_CONNECTIONS", 1, 1_000_000);
        InRange("CAPSUL_BACKUP_KEEP_DAYS", 0, 36_500);
        Must("CAPSUL_DISK_OVERCOMMIT", !IsSet("CAPSUL_DISK_OVERCOMMIT")
            || decimal.TryParse(Text("CAPSUL_DISK_OVERCOMMIT"), NumberStyles.AllowDecimalPoint,
                CultureInfo.InvariantCulture, out var factor) && factor is >= 1 and <= 100, "a number from 1 to 100");
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
        if (Optional("CAPSUL_BASE_URL") is { } url)
            Must("CAPSUL_BASE_URL", Uri.TryCreate(url, UriKind.Absolute, out var uri)
                && uri.Scheme is "http" or "https", "an http or https address");
        if (SecretKey is { } key)
            Must("CAPSUL_SECRET_KEY", Convert.TryFromBase64String(key, new byte[key.Length], out var count)
                && count == 32, "32 bytes in base64");
    }

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
