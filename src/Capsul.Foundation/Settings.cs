using System.Globalization;
using System.Net;

namespace Capsul.Foundation;

/// <summary>
/// All settings of the program, on one page and typed. The order of precedence: environment, then <c>capsul.conf</c>,
/// then the default. A blank value counts as unset. A CAPSUL_ name that is not in the list is refused, because it is a
/// typo. <c>docs/configuration.md</c> is generated from the list in Settings.All.cs.
/// </summary>
public sealed partial class Settings
{
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

    /// <summary>host:port at which this machine itself reaches the link.</summary>
    public string LinkHere => $"{Here(LinkListen)}:{LinkPort}";

    /// <summary>How this machine itself reaches an address on which it listens, as part of a URL.</summary>
    public static string Here(IPAddress listen) =>
        listen.Equals(IPAddress.Any) || listen.Equals(IPAddress.IPv6Any) ? "127.0.0.1"
        : listen.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? $"[{listen}]" : listen.ToString();

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
    public string SiteName => Text("CAPSUL_SITE_NAME");

    /// <summary>Code, symbol, and decimal places.</summary>
    public (string Code, string Symbol, int Decimals) Currency => ParseCurrency(Text("CAPSUL_CURRENCY"))!.Value;
    public bool PublicLedger => Text("CAPSUL_PUBLIC_LEDGER") == "on";
    public decimal PaymentLeast => Amount("CAPSUL_PAYMENT_LEAST")!.Value;
    public decimal PaymentMost => Amount("CAPSUL_PAYMENT_MOST")!.Value;
    public string? StripeSecretKey => Optional("CAPSUL_STRIPE_SECRET_KEY");
    public string? StripeWebhookSecret => Optional("CAPSUL_STRIPE_WEBHOOK_SECRET");
    public Uri StripeApi => new(Text("CAPSUL_STRIPE_API").TrimEnd('/') + "/");

    /// <summary>Null: there is none.</summary>
    public (Uri Url, string Store, string Key)? BtcPay => Optional("CAPSUL_BTCPAY_URL") is { } url
        ? (new Uri(url.TrimEnd('/') + "/"), Text("CAPSUL_BTCPAY_STORE"), Text("CAPSUL_BTCPAY_API_KEY")) : null;

    public string? BtcPayWebhookSecret => Optional("CAPSUL_BTCPAY_WEBHOOK_SECRET");
    public string? BankDetails => Optional("CAPSUL_BANK_DETAILS");
    public int MaxConnections => Number("CAPSUL_MAX_CONNECTIONS");

    /// <summary>How long an account that is being closed may be reopened.</summary>
    public int ClosingDays => Number("CAPSUL_CLOSING_DAYS");

    /// <summary>Whole years after which receipts of closed accounts lose their names.</summary>
    public int KeepReceiptsYears => Number("CAPSUL_KEEP_RECEIPTS_YEARS");

    /// <summary>Traffic of a VM in a month above which its owner is told, bytes; 0: nobody is.</summary>
    public long TrafficBytes => (long)Number("CAPSUL_TRAFFIC_GIB") << 30;

    /// <summary>Share of its CPUs above which a VM is noticed; 0: none is.</summary>
    public int AlertCpuPercent => Number("CAPSUL_ALERT_CPU_PERCENT");
    public TimeSpan AlertCpuTime => TimeSpan.FromHours(Number("CAPSUL_ALERT_CPU_HOURS"));

    /// <summary>Connections of a VM in an hour at which it is noticed; 0: none is.</summary>
    public int AlertConnections => Number("CAPSUL_ALERT_CONNECTIONS");
    public bool ApproveAccounts => Text("CAPSUL_APPROVE_ACCOUNTS") == "on";

    /// <summary>What a new account gets; 0: nothing.</summary>
    public decimal TrialAmount => Amount("CAPSUL_TRIAL_AMOUNT")!.Value;
    public int TrialDays => Number("CAPSUL_TRIAL_DAYS");
    public int MaxVms => Number("CAPSUL_MAX_VMS");
    public decimal DiskOvercommit => decimal.Parse(Text("CAPSUL_DISK_OVERCOMMIT"), CultureInfo.InvariantCulture);

    /// <summary>How many VMs a host builds at a time; null: it depends on its CPUs.</summary>
    public int? BuildSlots => Text("CAPSUL_BUILD_SLOTS") == "auto" ? null : Number("CAPSUL_BUILD_SLOTS");
    public TimeSpan CreateDeadline => TimeSpan.FromSeconds(Number("CAPSUL_CREATE_DEADLINE_SECONDS"));
    public bool CreateDeadlineIsSet => Optional("CAPSUL_CREATE_DEADLINE_SECONDS") is not null;
    public TimeSpan StopGrace => TimeSpan.FromSeconds(Number("CAPSUL_STOP_GRACE_SECONDS"));
    public bool Simulated => Text("CAPSUL_HYPERVISOR") == "simulated";
    public string Libvirt => Text("CAPSUL_LIBVIRT");
    public IPNetwork VmNetwork => IPNetwork.Parse(Text("CAPSUL_VM_NETWORK"));

    /// <summary>
    /// Null: VMs have no IPv6, or this kernel has none. The private one follows from machine and data folder (RFC
    /// 4193); on a bridge of the machine there is none, because others' routers advertise networks there.
    /// </summary>
    public IPNetwork? VmNetwork6 => Text("CAPSUL_VM_NETWORK6") switch
    {
        "off" => null,
        "auto" => !IsBridged && Directory.Exists("/proc/sys/net/ipv6") ? OwnNetwork6() : null,
        var text => IPNetwork.Parse(text),
    };

    public string NetworkMode => Text("CAPSUL_NETWORK");

    public bool IsBridged => NetworkMode == "bridged";

    /// <summary>Bridged mode only.</summary>
    public string Bridge => Text("CAPSUL_BRIDGE");

    /// <summary>Bridged mode only: the addresses that this host may use.</summary>
    public (IPAddress First, IPAddress Last) VmRange => ParseRange(Text("CAPSUL_VM_RANGE"))!.Value;

    /// <summary>Bridged mode only.</summary>
    public IPAddress VmGateway => IPAddress.Parse(Text("CAPSUL_VM_GATEWAY"));

    /// <summary>The VMs' networks to which this machine has a route; none in private and bridged mode.</summary>
    public IEnumerable<IPNetwork> RoutedNetworks => NetworkMode == "private" || IsBridged ? []
        : VmNetwork6 is { } six ? [VmNetwork, six] : [VmNetwork];

    /// <summary>Those of them that nobody outside knows.</summary>
    public IEnumerable<IPNetwork> TranslatedNetworks => RoutedNetworks.Where(n =>
        n == VmNetwork ? NetworkMode == "nat" : Text("CAPSUL_VM_NETWORK6") == "auto");

    public bool Outbound => Text("CAPSUL_OUTBOUND") == "on";
    public bool OutboundMail => Text("CAPSUL_OUTBOUND_MAIL") == "on";
    public string VmResolver => Text("CAPSUL_VM_RESOLVER");
    public IPAddress RelayAddress => IPAddress.Parse(Text("CAPSUL_RELAY_ADDRESS"));
    public string SshHost => Optional("CAPSUL_SSH_HOST") ?? RelayAddress.ToString();
    public (int First, int Last) RelayPorts => ParsePorts(Text("CAPSUL_RELAY_PORTS"))!.Value;
    public (int First, int Last)? ForwardPorts => ParsePorts(Text("CAPSUL_FORWARD_PORTS"));
    public (int First, int Last)? HubPorts => ParsePorts(Text("CAPSUL_HUB_PORTS"));
    public IPAddress HubPortsListen => IPAddress.Parse(Text("CAPSUL_HUB_PORTS_LISTEN"));
    public string HubPortsHost => Optional("CAPSUL_HUB_PORTS_HOST") ?? BaseUrl?.Host ?? "127.0.0.1";

    /// <summary>Lower case.</summary>
    public string? VmDomain => Optional("CAPSUL_VM_DOMAIN")?.ToLowerInvariant();
    public int? VmHttpsPort => Text("CAPSUL_VM_HTTPS_PORT") == "off" ? null : Number("CAPSUL_VM_HTTPS_PORT");
    public string? VmCertificate => Optional("CAPSUL_VM_CERTIFICATE");
    public string? VmCertificateKey => Optional("CAPSUL_VM_CERTIFICATE_KEY");
    public string? DnsServer => Optional("CAPSUL_DNS_SERVER");
    public int DnsPort => Number("CAPSUL_DNS_PORT");
    public (string Algorithm, string Name, string Secret)? DnsKey => ParseDnsKey(Optional("CAPSUL_DNS_KEY"));
    public int DnsTtl => Number("CAPSUL_DNS_TTL");
    public int MaxPorts => Number("CAPSUL_MAX_PORTS");

    public int MaxAddresses => Number("CAPSUL_MAX_ADDRESSES");
    public string Images => Optional("CAPSUL_IMAGES") ?? Path.Combine(Data, "images");
    public int MemoryReserveMb => Number("CAPSUL_MEMORY_RESERVE_MB");
    public string Kvm => Text("CAPSUL_KVM");

    IPNetwork OwnNetwork6()
    {
        const string machine = "/etc/machine-id";
        var of = $"{(File.Exists(machine) ? File.ReadAllText(machine) : System.Environment.MachineName)} {Data}";
        var hash = System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(of));
        return new IPNetwork(new IPAddress([0xfd, .. hash.AsSpan(0, 7), .. new byte[8]]), 64);
    }

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
}
