namespace Capsul.Hub.Features.ReverseDns;

/// <summary>An address of a VM, and the name that it is to have.</summary>
/// <param name="Name">Empty: none.</param>
/// <param name="Published">The DNS server has confirmed it.</param>
/// <param name="Problem">Why it has not, the last time that it was told; empty: it has not been told yet.</param>
public sealed record ReverseNameRow(string Address, string Name, bool Published, string Problem);

/// <summary>An address about which the DNS server is to be told.</summary>
/// <param name="Name">Empty: it is to have none.</param>
/// <param name="Tries">How often that has failed.</param>
public sealed record DueNameRow(string Address, string Name, int Tries);

/// <summary>Statements on names of addresses.</summary>
public static class ReverseNameSql
{
    /// <summary>The addresses that a VM has where it is.</summary>
    public const string OfVm = """
        -- ReverseNameSql.OfVm
        SELECT host(x.address) AS address, coalesce(r.name, '') AS name,
            r.name IS NULL OR r.published IS NOT DISTINCT FROM r.name AS published, coalesce(r.problem, '') AS problem
        FROM vms v JOIN addresses a ON a.vm = v.id AND a.host = v.host
            CROSS JOIN LATERAL (VALUES (a.address),
                (CASE WHEN a.extra IS NULL THEN a.address6 END)) AS x (address)
            LEFT JOIN reverse_names r ON r.address = x.address AND r.vm = v.id
        WHERE v.id = @id AND x.address IS NOT NULL ORDER BY x.address
        """;

    /// <summary>
    /// Returns 0 if it has that name already, or if it is another VM's: a host may say that addresses of another one
    /// are its own.
    /// </summary>
    public const string Put = """
        -- ReverseNameSql.Put
        INSERT INTO reverse_names AS r (address, vm, name) VALUES (@address::inet, @id, @name)
        ON CONFLICT (address) DO UPDATE SET vm = excluded.vm, name = excluded.name, published = NULL,
            next_try = '-infinity', tries = 0, failing_since = NULL, problem = ''
        WHERE coalesce(r.vm, excluded.vm) = excluded.vm
            AND (r.vm, r.name) IS DISTINCT FROM (excluded.vm, excluded.name)
        """;

    /// <summary>The server is told that there is none.</summary>
    public const string Remove = """
        -- ReverseNameSql.Remove
        UPDATE reverse_names SET name = '', published = NULL, next_try = '-infinity', tries = 0, failing_since = NULL,
            problem = ''
        WHERE address = @address::inet AND vm = @id AND name <> ''
        """;

    /// <summary>Those that are due, the longest first.</summary>
    public const string Due = """
        -- ReverseNameSql.Due
        SELECT host(address) AS address, name, tries FROM reverse_names WHERE next_try <= @now
        ORDER BY next_try LIMIT @limit
        """;

    /// <summary>The server has it. A name that has changed meanwhile stays due.</summary>
    public const string Published = """
        -- ReverseNameSql.Published
        UPDATE reverse_names SET published = name, next_try = @next, tries = 0, failing_since = NULL, problem = ''
        WHERE address = @address::inet AND name = @name
        """;

    /// <summary>The server has none: nothing needs to be known of it any more.</summary>
    public const string Forget = """
        -- ReverseNameSql.Forget
        DELETE FROM reverse_names WHERE address = @address::inet AND name = ''
        """;

    public const string Failed = """
        -- ReverseNameSql.Failed
        UPDATE reverse_names SET tries = tries + 1, next_try = @next, problem = @problem,
            failing_since = coalesce(failing_since, @now)
        WHERE address = @address::inet AND name = @name
        """;
}
