namespace Capsul.Hub.Features.Sizes;

/// <summary>
/// What a size, or a further IPv4 address, costs from a date on. A line is never changed; one that is not yet in force
/// can be withdrawn.
/// </summary>
/// <param name="Applied">When all VMs that follow their size had it.</param>
public sealed record PriceRow(long Id, string Size, DateTime ActiveFrom, decimal DollarsPerMonth, DateTime Announced,
    DateTime? Withdrawn, DateTime? Applied)
{
    public bool IsComing(DateTime now) => Withdrawn is null && ActiveFrom > now;

    /// <summary>In a word.</summary>
    /// <param name="ofSize">All of its size, the newest first.</param>
    /// <param name="now">The time.</param>
    public string StateAmong(IEnumerable<PriceRow> ofSize, DateTime now) => Withdrawn is not null ? "withdrawn"
        : IsComing(now) ? "announced"
        : this == ofSize.FirstOrDefault(p => p.Withdrawn is null && !p.IsComing(now)) ? "in force" : "past";

    /// <summary>The first price of a size is in force since the beginning.</summary>
    public bool IsFirst => ActiveFrom == DateTime.UnixEpoch;
}

/// <summary>The price of a size before a date, and who pays it.</summary>
/// <param name="Vms">That follow their size; or the addresses.</param>
public sealed record PriceFactsRow(decimal? Before, DateTime? Same, long Vms);

/// <summary>An account with VMs of a size, or with further addresses.</summary>
/// <param name="Percent">What it pays of the standard price.</param>
public sealed record SizeCustomerRow(string Email, long Vms, int Percent = 100);

/// <summary>Statements on prices. A VM without <c>price_from</c> has a price of its own.</summary>
public static class PriceSql
{
    /// <summary>The line of the size <c>s</c> that is in force.</summary>
    internal const string InForce = """
        LATERAL (SELECT p.active_from, p.dollars_per_month FROM prices p
            WHERE p.size = s.id AND p.withdrawn IS NULL AND p.active_from <= @now
            ORDER BY p.active_from DESC LIMIT 1)
        """;

    const string Columns =
        "p.id, p.size, p.active_from, p.dollars_per_month, p.announced, p.withdrawn, p.applied";

    /// <summary>Of each size, the newest first.</summary>
    public const string List = $"""
        -- PriceSql.List
        SELECT {Columns} FROM prices p ORDER BY p.size, p.active_from DESC, p.id DESC
        """;

    /// <summary>Those that are announced, soonest first, as the account @email pays them; empty: anybody.</summary>
    public const string Coming = """
        -- PriceSql.Coming
        SELECT p.id, p.size, p.active_from, CASE WHEN p.of_size IS NULL THEN p.dollars_per_month
                ELSE price_at(p.dollars_per_month, price_percent(@email)) END AS dollars_per_month, p.announced,
            p.withdrawn, p.applied FROM prices p WHERE p.withdrawn IS NULL AND p.active_from > @now
        ORDER BY p.active_from, p.size
        """;

    /// <summary>The same for one VM: none if it has a price of its own.</summary>
    public const string ComingForVm = """
        -- PriceSql.ComingForVm
        SELECT p.id, p.size, p.active_from, price_at(p.dollars_per_month, v.price_percent) AS dollars_per_month,
            p.announced, p.withdrawn, p.applied FROM vms v JOIN prices p ON p.size = v.size
        WHERE v.id = @id AND v.price_from IS NOT NULL AND p.withdrawn IS NULL AND p.active_from > @now
        ORDER BY p.active_from
        """;

    public const string Find = $"""
        -- PriceSql.Find
        SELECT {Columns} FROM prices p WHERE p.id = @id FOR NO KEY UPDATE
        """;

    /// <summary>What a new line is decided on, while the size is locked; one row.</summary>
    public const string Facts = """
        -- PriceSql.Facts
        SELECT (SELECT p.dollars_per_month FROM prices p
                WHERE p.size = @size AND p.withdrawn IS NULL AND p.active_from < @from
                ORDER BY p.active_from DESC LIMIT 1) AS before,
            (SELECT p.active_from FROM prices p
                WHERE p.size = @size AND p.withdrawn IS NULL AND p.active_from = @from) AS same,
            (SELECT count(*) FROM vms WHERE size = @size AND deleted IS NULL AND price_from IS NOT NULL)
                + (SELECT count(*) FROM vm_extras WHERE kind = @size AND removed IS NULL AND price_from IS NOT NULL)
                AS vms
        """;

    public const string Add = """
        -- PriceSql.Add
        INSERT INTO prices (size, active_from, dollars_per_month, announced) VALUES (@size, @from, @dollars, @now)
        RETURNING id
        """;

    public const string Withdraw = """
        -- PriceSql.Withdraw
        UPDATE prices SET withdrawn = @now WHERE id = @id
        """;

    /// <summary>Whom a price of a size concerns.</summary>
    public const string Customers = """
        -- PriceSql.Customers
        SELECT email, count(*) AS vms, price_percent(email) AS percent FROM vms
        WHERE size = @size AND deleted IS NULL AND price_from IS NOT NULL
        GROUP BY email
        UNION ALL
        SELECT v.email, count(*), 100 FROM vm_extras x JOIN vms v ON v.id = x.vm
        WHERE x.kind = @size AND x.removed IS NULL AND x.price_from IS NOT NULL
        GROUP BY v.email ORDER BY email
        """;

    /// <summary>
    /// Lines of what is no size, locked, so that prices of it are announced one after the other. Without any nobody has
    /// it, and of two first lines at the same time one is refused.
    /// </summary>
    public const string LockLines = """
        -- PriceSql.LockLines
        SELECT id FROM prices WHERE size = @size ORDER BY id FOR NO KEY UPDATE
        """;

    /// <summary>When the next line comes into force.</summary>
    public const string Next = """
        -- PriceSql.Next
        SELECT min(active_from) FROM prices WHERE withdrawn IS NULL AND active_from > @now
        """;

    /// <summary>The earliest line in force that a VM does not have yet, or that is not known to be had.</summary>
    public const string Due = $"""
        -- PriceSql.Due
        SELECT {Columns} FROM prices p
        WHERE p.withdrawn IS NULL AND p.active_from <= @now AND (p.applied IS NULL
            OR (SELECT min(v.price_from) FROM vms v WHERE v.size = p.size AND v.deleted IS NULL) < p.active_from
            OR (SELECT min(x.price_from) FROM vm_extras x WHERE x.kind = p.size AND x.removed IS NULL) < p.active_from)
        ORDER BY p.active_from, p.size LIMIT 1
        """;

    public const string MarkApplied = """
        -- PriceSql.MarkApplied
        UPDATE prices SET applied = @now WHERE id = @id AND applied IS NULL
        """;
}
