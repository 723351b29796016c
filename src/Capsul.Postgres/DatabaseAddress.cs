using System.Globalization;
using Capsul.Foundation;
using Npgsql;

namespace Capsul.Postgres;

/// <summary>
/// The address of the database: one connection string, whether it was configured in parts, as a URI or in Npgsql's own
/// format; also for PostgreSQL's programs, through their environment (libpq's variables), so that no password is ever
/// an argument.
/// </summary>
public sealed record DatabaseAddress
{
    DatabaseAddress(string connectionString) => ConnectionString = connectionString;

    /// <summary>Npgsql's format, with the password. Must never be logged.</summary>
    public string ConnectionString { get; }

    /// <summary>The external database in the settings, or null if the private cluster is to be used.</summary>
    /// <exception cref="ProblemException">Invalid: not a connection string.</exception>
    public static DatabaseAddress? From(Settings settings)
    {
        if (!settings.ExternalDatabase) return null;
        var parts = settings.Database is { } text ? Parse(text) : Parts(settings);
        if (settings.DatabasePassword is { } password) parts.Password = password;
        return new DatabaseAddress(parts.ConnectionString);
    }

    /// <summary>Parses a connection string in either format.</summary>
    /// <exception cref="ProblemException">Invalid: it is in neither format.</exception>
    public static DatabaseAddress Of(string connectionString) => new(Parse(connectionString).ConnectionString);

    /// <summary>Host, port and database, for display, without the password.</summary>
    public string Shown
    {
        get
        {
            var parts = new NpgsqlConnectionStringBuilder(ConnectionString);
            var hosts = string.Join(", ", Hosts(parts).Select(h => Show(h, parts.Port)));
            return $"{hosts}, database {parts.Database ?? parts.Username}";
        }
    }

    static string[] Hosts(NpgsqlConnectionStringBuilder parts) =>
        (parts.Host ?? "localhost").Split(',', StringSplitOptions.TrimEntries);

    static string Show(string host, int port)
    {
        if (host.StartsWith('/')) return host;
        var (name, own) = Split(host, port);
        return name.Contains(':', StringComparison.Ordinal) ? $"[{name}]:{own}" : $"{name}:{own}";
    }

    /// <summary>Another database on the same server.</summary>
    public DatabaseAddress For(string database) =>
        new(new NpgsqlConnectionStringBuilder(ConnectionString) { Database = database }.ConnectionString);

    /// <summary>Variables for psql, pg_dump and pg_restore (libpq, "Environment Variables").</summary>
    public IReadOnlyDictionary<string, string?> ForPrograms(string applicationName)
    {
        var parts = new NpgsqlConnectionStringBuilder(ConnectionString);
        var hosts = Hosts(parts);
        return new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["PGHOST"] = string.Join(',', hosts.Select(h => Split(h, parts.Port).Host)),
            ["PGPORT"] = string.Join(',', hosts.Select(h => Split(h, parts.Port).Port)),
            ["PGDATABASE"] = parts.Database ?? parts.Username,
            ["PGUSER"] = parts.Username,
            ["PGPASSWORD"] = parts.Password,
            ["PGSSLMODE"] = TlsName(parts.SslMode),
            ["PGSSLROOTCERT"] = parts.RootCertificate,
            ["PGTARGETSESSIONATTRS"] = hosts.Length > 1 ? "read-write" : null,
            ["PGCONNECT_TIMEOUT"] = Math.Max(2, parts.Timeout).ToString(CultureInfo.InvariantCulture),
            ["PGAPPNAME"] = applicationName,
            // Variables that a person has set for other databases must not leak in.
            ["PGSERVICE"] = null,
            ["PGPASSFILE"] = null,
            ["PGOPTIONS"] = null,
        };
    }

    /// <summary>
    /// Splits as Npgsql does: a port may follow a name, an IPv4 address or an IPv6 address in brackets; an IPv6 address
    /// without brackets has none. libpq expects no brackets.
    /// </summary>
    static (string Host, int Port) Split(string host, int port)
    {
        var colon = PortColon(host);
        return colon > 0 && int.TryParse(host[(colon + 1)..], CultureInfo.InvariantCulture, out var own)
            ? (host[..colon].Trim('[', ']'), own) : (host.Trim('[', ']'), port);
    }

    /// <summary>Position of the colon before the port; 0 or less if there is none.</summary>
    static int PortColon(string host)
    {
        var colon = host.LastIndexOf(':');
        var isAddress = colon > 0 && host[colon - 1] != ']' && host.IndexOf(':', StringComparison.Ordinal) != colon;
        return host.StartsWith('/') || isAddress || colon < host.LastIndexOf(']') ? -1 : colon;
    }

    static NpgsqlConnectionStringBuilder Parts(Settings settings) => new()
    {
        Host = settings.DatabaseHost,
        Port = settings.DatabasePort,
        Database = settings.DatabaseName,
        Username = settings.DatabaseUser,
        SslMode = Tls(settings.DatabaseTls),
        RootCertificate = settings.DatabaseRootCertificate,
    };

    /// <summary>Errors do not quote the text: any part of it may be part of the password.</summary>
    const string MustBeEncoded =
        "a user name or password in it has a character that must be percent-encoded (@ is %40, / is %2F, ? is %3F, # "
            + "is %23, % is %25); "
        + "or leave the password out, and set CAPSUL_DATABASE_PASSWORD";

    static NpgsqlConnectionStringBuilder Parse(string text)
    {
        try
        {
            text = text.Trim();
            var isUri = text.StartsWith("postgres://", StringComparison.Ordinal)
                || text.StartsWith("postgresql://", StringComparison.Ordinal);
            var parts = isUri ? ParseUri(text) : ParsePairs(text);
            if (string.IsNullOrWhiteSpace(parts.Host)) throw new FormatException("it names no host");
            foreach (var host in Hosts(parts)) CheckPort(host, isUri);
            return parts;
        }
        catch (FormatException error)
        {
            throw new ProblemException(ProblemKind.Invalid,
                $"CAPSUL_DATABASE is not a connection string: {error.Message}.", null, error);
        }
    }

    /// <summary>Npgsql's own format. Its error messages quote the text, which may be the end of a password.</summary>
    static NpgsqlConnectionStringBuilder ParsePairs(string text) => TryParsePairs(text) ?? throw new FormatException(
        "it is neither postgres://user@host/database nor Host=…;Database=…;Username=… with names that Npgsql knows; "
        + "put a value with a semicolon or quotes in double quotes");

    static NpgsqlConnectionStringBuilder? TryParsePairs(string text)
    {
        try
        {
            return new NpgsqlConnectionStringBuilder(text);
        }
        catch (Exception error) when (error is ArgumentException or FormatException or KeyNotFoundException)
        {
            return null;
        }
    }

    static void CheckPort(string host, bool isUri)
    {
        if (PortColon(host) is not (var colon and > 0)) return;
        if (!ushort.TryParse(host[(colon + 1)..], CultureInfo.InvariantCulture, out var port) || port == 0)
            throw new FormatException(isUri ? $"the text after a host's colon is not a port number, or {MustBeEncoded}"
                : "the text after a host's colon is not a port number");
    }

    /// <summary>libpq's URI. .NET's own <see cref="Uri"/> does not support several hosts.</summary>
    static NpgsqlConnectionStringBuilder ParseUri(string text)
    {
        var rest = text[(text.IndexOf("//", StringComparison.Ordinal) + 2)..];
        // The user ends at the first @; there must be no other.
        if (rest.Count(c => c == '@') > 1 || rest.IndexOfAny(['/', '?', '#']) is var end and >= 0
            && end < rest.IndexOf('@', StringComparison.Ordinal))
            throw new FormatException(MustBeEncoded);
        var parts = new NpgsqlConnectionStringBuilder();
        if (rest.IndexOf('?', StringComparison.Ordinal) is var query and >= 0)
        {
            foreach (var pair in rest[(query + 1)..].Split('&', StringSplitOptions.RemoveEmptyEntries))
                SetOption(parts, pair);
            rest = rest[..query];
        }
        if (rest.IndexOf('/', StringComparison.Ordinal) is var slash and >= 0)
        {
            if (slash + 1 < rest.Length) parts.Database = Uri.UnescapeDataString(rest[(slash + 1)..]);
            rest = rest[..slash];
        }
        if (rest.LastIndexOf('@') is var at and >= 0)
        {
            var user = rest[..at].Split(':', 2);
            parts.Username = Uri.UnescapeDataString(user[0]);
            if (user.Length > 1) parts.Password = Uri.UnescapeDataString(user[1]);
            rest = rest[(at + 1)..];
        }
        if (rest.Length > 0) parts.Host = Uri.UnescapeDataString(rest);
        return parts;
    }

    static void SetOption(NpgsqlConnectionStringBuilder parts, string pair)
    {
        var (name, value) = pair.Split('=', 2) is [var n, var v] ? (n, Uri.UnescapeDataString(v))
            : throw new FormatException("one of its options is not option=value");
        switch (name)
        {
            case "host": parts.Host = value; break;
            case "port": parts.Port = Number(value); break;
            case "user": parts.Username = value; break;
            case "password": parts.Password = value; break;
            case "dbname": parts.Database = value; break;
            case "sslmode": parts.SslMode = Tls(value); break;
            case "sslrootcert": parts.RootCertificate = value; break;
            case "connect_timeout": parts.Timeout = Number(value); break;
            case "application_name": parts.ApplicationName = value; break;
            case "target_session_attrs": parts.TargetSessionAttributes = value; break;
            default:
                throw new FormatException(
                "it has an unknown option; supported are host, port, user, password, dbname, sslmode, "
                + "sslrootcert, connect_timeout, application_name and target_session_attrs");
        }
    }

    static int Number(string value) => ushort.TryParse(value, CultureInfo.InvariantCulture, out var number) ? number
        : throw new FormatException("the value of port or connect_timeout is not a number");

    static SslMode Tls(string name) => name switch
    {
        "disable" => SslMode.Disable,
        "allow" => SslMode.Allow,
        "prefer" => SslMode.Prefer,
        "require" => SslMode.Require,
        "verify-ca" => SslMode.VerifyCA,
        "verify-full" => SslMode.VerifyFull,
        _ => throw new FormatException(
            "its sslmode is none of disable, allow, prefer, require, verify-ca and verify-full"),
    };

    static string TlsName(SslMode mode) => mode switch
    {
        SslMode.Disable => "disable",
        SslMode.Allow => "allow",
        SslMode.Prefer => "prefer",
        SslMode.Require => "require",
        SslMode.VerifyCA => "verify-ca",
        SslMode.VerifyFull => "verify-full",
    };
}
