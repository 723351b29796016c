namespace Capsul.Foundation;

/// <summary>
/// One thing that can be configured: an environment variable, or a line of <c>capsul.conf</c> in the data folder.
/// </summary>
/// <param name="Name">The variable.</param>
/// <param name="Default">The value if it is not set; null: none.</param>
/// <param name="Description">One or two sentences for the reference.</param>
/// <param name="Secret">May come from a file through the same name with <c>_FILE</c>; never printed.</param>
public sealed record Setting(string Name, string? Default, string Description, bool Secret = false);

/// <summary>The list of settings.</summary>
public sealed partial class Settings
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
            "Address on which the Hub listens for Spokes. Set ::, for IPv4 and IPv6, to let other machines join."),
        new("CAPSUL_LINK_PORT", "8443",
            "Port on which the Hub listens for Spokes (gRPC over TLS); 0 picks a free one."),
        new("CAPSUL_LINK_ADDRESS", null,
            "host:port included in join tokens. Default: where this machine itself reaches the link."),
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
        new("CAPSUL_SITE_NAME", "Capsul", "What emails call this installation: the name of the co-op or provider."),
        new("CAPSUL_CURRENCY", "USD $ 2",
            "The currency of all amounts: code, symbol, and decimal places of its smallest unit (0 to 2). It cannot be "
            + "changed once the ledger has entries."),
        new("CAPSUL_PUBLIC_LEDGER", "off",
            "on: everybody may see /ledger, the sums of the ledger and when they were last verified. off: operators."),
        new("CAPSUL_PAYMENT_LEAST", "5", "The smallest amount that people can pay online."),
        new("CAPSUL_PAYMENT_MOST", "500", "The largest amount that people can pay online at once."),
        new("CAPSUL_STRIPE_SECRET_KEY", null,
            "Secret or restricted API key of Stripe (sk_… or rk_…). Set: people can pay by card, on a page of "
            + "Stripe's.", Secret: true),
        new("CAPSUL_STRIPE_WEBHOOK_SECRET", null,
            "Signing secret (whsec_…) of the webhook at Stripe that sends events to BASE_URL/webhooks/stripe. Unset: "
            + "no events are taken, and Stripe is asked from time to time.", Secret: true),
        new("CAPSUL_STRIPE_API", "https://api.stripe.com", "Address of Stripe's API; another one only for tests."),
        new("CAPSUL_BTCPAY_URL", null,
            "Address of a BTCPay Server. Set, with a store and a key: people can pay with Bitcoin there."),
        new("CAPSUL_BTCPAY_STORE", null, "ID of the store at the BTCPay Server."),
        new("CAPSUL_BTCPAY_API_KEY", null,
            "API key of that store, which may view and create invoices.", Secret: true),
        new("CAPSUL_BTCPAY_WEBHOOK_SECRET", null,
            "Secret of the store's webhook that sends events to BASE_URL/webhooks/btcpay.", Secret: true),
        new("CAPSUL_BANK_DETAILS", null,
            "Where people can transfer money to: name, bank and account number, in one line. Unset: not offered."),
        new("CAPSUL_CLOSING_DAYS", "3",
            "How many days an account that is being closed may be reopened; then its VMs are deleted and its money is "
            + "sent back."),
        new("CAPSUL_KEEP_RECEIPTS_YEARS", "10",
            "How many whole years after an account was closed the names on its receipts are kept, as the law demands; "
            + "the rest of what is personal is removed when it is closed."),
        new("CAPSUL_APPROVE_ACCOUNTS", "off",
            "on: accounts that people make by signing in create no VMs until an operator has approved them."),
        new("CAPSUL_TRIAL_AMOUNT", "0",
            "Trial credit of an account that is made when somebody signs in with a new address, such as 5; 0: none. "
            + "It is never paid out."),
        new("CAPSUL_TRIAL_DAYS", "30", "After how many days what is not used of it lapses."),
        new("CAPSUL_MAX_VMS", "10", "Maximum number of VMs per account."),
        new("CAPSUL_TRAFFIC_GIB", "0",
            "How much traffic a VM should have in a month, GiB in both directions together: when it is more, its owner "
            + "is emailed. Nothing is slowed down or cut off. 0: there is no such limit."),
        new("CAPSUL_ALERT_CPU_PERCENT", "95",
            "Operators are alerted of a VM that uses more of its CPUs than this, percent, continuously for "
            + "CAPSUL_ALERT_CPU_HOURS, as crypto miners do. Nothing is done about it. 0: never."),
        new("CAPSUL_ALERT_CPU_HOURS", "24", "See CAPSUL_ALERT_CPU_PERCENT."),
        new("CAPSUL_ALERT_CONNECTIONS", "30000",
            "Operators are alerted of a VM that tries to open this many outgoing connections within an hour, as "
            + "mail spammers and scanners do. Nothing is done about it. 0: never."),
        new("CAPSUL_DISK_OVERCOMMIT", "2",
            "Disk overcommit ratio of a host: the total size of VM disks, as a multiple of its file system's size. "
            + "Disks are thinly provisioned and grow as they fill. 1: no overcommit."),
        new("CAPSUL_BUILD_SLOTS", "auto",
            "How many VMs a host creates at a time; the others wait in a queue, in turns between accounts. auto: twice "
            + "its CPUs, at least 4. A host can have its own number: capsul host slots."),
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
        new("CAPSUL_NETWORK", "private",
            "How VMs are connected (with CAPSUL_LIBVIRT=private). private: through sockets of this machine, whose "
            + "network is not changed. routed: this machine routes CAPSUL_VM_NETWORK and CAPSUL_VM_NETWORK6, which are "
            + "reached from outside. nat: IPv4 is translated by this machine's kernel, IPv6 is routed. bridged: VMs "
            + "are on CAPSUL_BRIDGE, in the same network as this machine."),
        new("CAPSUL_BRIDGE", null, "Bridge of this machine that VMs are connected to (bridged mode), such as br0."),
        new("CAPSUL_VM_NETWORK", "10.77.0.0/24",
            "IPv4 network of the VMs on this host; in bridged mode, the network that the bridge is in."),
        new("CAPSUL_VM_RANGE", null,
            "Addresses of that network that this host may use, first-last (bridged mode). The first one is Capsul's "
            + "own, for DHCP; VMs get the others."),
        new("CAPSUL_VM_GATEWAY", null, "IPv4 address of the router in that network (bridged mode)."),
        new("CAPSUL_VM_NETWORK6", "auto",
            "IPv6 network of the VMs on this host, a /64; off: none. auto: a private one (fd00::/8) of its own, and in "
            + "bridged mode none."),
        new("CAPSUL_OUTBOUND", "on",
            "on or off: whether VMs reach the internet through this host (private mode). They never reach the host."),
        new("CAPSUL_OUTBOUND_MAIL", "off",
            "on or off: whether VMs may connect to TCP port 25 outside, which is how spam is sent."),
        new("CAPSUL_VM_RESOLVER", "auto",
            "IPv4 address of the resolver that VMs of this host use. auto: this machine's own, from /etc/resolv.conf. "
            + "In bridged mode VMs ask it directly."),
        new("CAPSUL_RELAY_ADDRESS", "127.0.0.1",
            "Address on which the Spoke relays a port to each VM's SSH. ::, all addresses, of IPv4 too."),
        new("CAPSUL_SSH_HOST", null,
            "Public name or address of those ports, shown in the ssh command. Default: CAPSUL_RELAY_ADDRESS. "
            + "Required when that is 0.0.0.0 or ::."),
        new("CAPSUL_RELAY_PORTS", "22000-22999", "Port range for that relay, first-last."),
        new("CAPSUL_FORWARD_PORTS", "31000-31999",
            "Ports of this host that owners of VMs may open to ports of their VMs, first-last, on "
            + "CAPSUL_RELAY_ADDRESS; off: none."),
        new("CAPSUL_HUB_PORTS", "off",
            "Ports of the Hub that owners may open to ports of their VMs on any host, also one behind NAT, first-last; "
            + "off: none."),
        new("CAPSUL_HUB_PORTS_LISTEN", "::",
            "Address on which the Hub listens for them. ::, all addresses, of IPv4 too."),
        new("CAPSUL_HUB_PORTS_HOST", null,
            "Public name or address of those ports. Default: the host in CAPSUL_BASE_URL, or else 127.0.0.1."),
        new("CAPSUL_VM_DOMAIN", null,
            "Domain under which owners give names to web servers of their VMs, such as vms.example.org; all names in "
            + "it must lead to the Hub (a wildcard record). Not a domain of the pages. Unset: none."),
        new("CAPSUL_VM_HTTPS_PORT", "off",
            "Port on which the Hub serves these names over TLS, on CAPSUL_HUB_PORTS_LISTEN. off: a proxy in front of "
            + "the pages does that."),
        new("CAPSUL_VM_CERTIFICATE", null,
            "PEM file with the certificate for *.CAPSUL_VM_DOMAIN and its chain. Required with CAPSUL_VM_HTTPS_PORT."),
        new("CAPSUL_VM_CERTIFICATE_KEY", null, "PEM file with its private key."),
        new("CAPSUL_DNS_SERVER", null,
            "Name or address of the DNS server that takes updates (RFC 2136) of the reverse zones of public addresses; "
            + "owners of VMs give these names. Unset: they cannot."),
        new("CAPSUL_DNS_PORT", "53", "TCP port of that server."),
        new("CAPSUL_DNS_KEY", null,
            "TSIG key that may change PTR records there, as ALGORITHM:NAME:SECRET, such as "
            + "hmac-sha256:capsul:c2VjcmV0… Required with CAPSUL_DNS_SERVER.", Secret: true),
        new("CAPSUL_DNS_TTL", "3600", "How long resolvers may keep these names, seconds."),
        new("CAPSUL_MAX_PORTS", "20", "Maximum number of open ports per account."),
        new("CAPSUL_MAX_ADDRESSES", "8",
            "Maximum number of further IPv4 addresses per account: those that VMs have besides their first."),
        new("CAPSUL_IMAGES", null, "Folder of VM images. Default: images in the data folder."),
        new("CAPSUL_MEMORY_RESERVE_MB", "1024", "Host memory reserved from VMs, MiB."),
        new("CAPSUL_KVM", "auto", "auto: KVM only if a probe boot succeeds, else TCG. on or off: no probe."),
    ];
}
