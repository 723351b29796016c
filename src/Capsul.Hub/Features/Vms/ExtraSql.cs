using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Vms;

/// <summary>A further address of a VM, and what it costs a month. Address: null where its VM is not.</summary>
public sealed record VmAddressRow(long Extra, string? Address, decimal DollarsPerMonth, DateTime Added);

/// <summary>What an extra costs a month, and since when.</summary>
public sealed record ExtraPriceRow(DateTime ActiveFrom, decimal DollarsPerMonth);

/// <summary>What the decision to give a VM a further address needs to know.</summary>
/// <param name="GivesMore">Its Spoke knows of further addresses.</param>
/// <param name="First">First address of its host's pool; empty: there is no pool.</param>
/// <param name="Network">Of that pool.</param>
/// <param name="IsFree">There is an address that it could have.</param>
/// <param name="OfVm">How many further addresses it has.</param>
/// <param name="OfAccount">How many all VMs of its account have.</param>
/// <param name="HasCopy">Another host has kept a copy of it, to which it may return.</param>
public sealed record AddressFactsRow(bool GivesMore, string First, string Network, bool IsFree, int OfVm, int OfAccount,
    bool HasCopy);

/// <summary>Statements on what VMs cost besides their size.</summary>
public static class ExtraSql
{
    public const string OfVm = """
        -- ExtraSql.OfVm
        SELECT x.id AS extra, host(a.address) AS address, x.dollars_per_month, x.added
        FROM vm_extras x JOIN vms v ON v.id = x.vm
            LEFT JOIN addresses a ON a.vm = v.id AND a.host = v.host AND a.extra = x.id
        WHERE x.vm = @id AND x.removed IS NULL ORDER BY a.address
        """;

    public const string Facts = $"""
        -- ExtraSql.Facts
        SELECT h.gives_more_addresses AS gives_more, coalesce(host(p.first), '') AS first,
            coalesce(p.network::text, '') AS network,
            EXISTS (SELECT FROM addresses a WHERE a.host = v.host AND {AddressSql.IsFree}) AS is_free,
            (SELECT count(*)::integer FROM vm_extras x WHERE x.vm = v.id AND x.removed IS NULL) AS of_vm,
            (SELECT count(*)::integer FROM vms o JOIN vm_extras x ON x.vm = o.id
                    AND (x.removed IS NULL OR x.removed > @now::timestamptz - interval '1 day')
                WHERE o.email = v.email AND o.deleted IS NULL) AS of_account,
            EXISTS (SELECT FROM moves m WHERE m.vm = v.id AND m.copy_host IS NOT NULL AND m.copy_wanted <> 'gone')
                AS has_copy
        FROM vms v JOIN hosts h ON h.id = v.host LEFT JOIN pools p ON p.host = v.host AND p.family = 4
        WHERE v.id = @id
        """;

    /// <summary>The line that is in force; no row: it is not offered.</summary>
    public const string Price = """
        -- ExtraSql.Price
        SELECT active_from, dollars_per_month FROM prices
        WHERE size = @kind AND withdrawn IS NULL AND active_from <= @now ORDER BY active_from DESC LIMIT 1
        """;

    public const string Add = """
        -- ExtraSql.Add
        INSERT INTO vm_extras (vm, kind, dollars_per_month, price_from, added)
        VALUES (@vm, @kind, @dollars, @from, @now) RETURNING id
        """;

    public const string Remove = """
        -- ExtraSql.Remove
        UPDATE vm_extras SET removed = @now WHERE id = @extra AND vm = @vm AND removed IS NULL
        """;

    /// <summary>Starts charging a new one, if its VM is charged.</summary>
    public const string OpenUsage = """
        -- ExtraSql.OpenUsage
        INSERT INTO usage_spans (vm, extra, email, span, dollars_per_month)
        SELECT v.id, x.id, v.email, tstzrange(@now, NULL), x.dollars_per_month
        FROM vm_extras x JOIN vms v ON v.id = x.vm
        WHERE x.id = @extra AND EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND s.extra IS NULL
            AND coalesce(upper(s.span), 'infinity'::timestamptz) = 'infinity')
        """;

    /// <summary>Stops charging one. A usage span that would be empty is deleted: nothing was used.</summary>
    public const string CloseUsage = """
        -- ExtraSql.CloseUsage
        WITH empty AS (DELETE FROM usage_spans s WHERE s.vm = @vm AND s.extra = @extra
            AND coalesce(upper(s.span), 'infinity'::timestamptz) > @now AND lower(s.span) >= @now)
        UPDATE usage_spans s SET span = tstzrange(lower(s.span), @now)
        WHERE s.vm = @vm AND s.extra = @extra AND coalesce(upper(s.span), 'infinity'::timestamptz) > @now
            AND lower(s.span) < @now
        """;

    /// <summary>Those that VMs had before the database was lost; a price that is not in force is their own.</summary>
    public const string AddLost = """
        -- ExtraSql.AddLost
        INSERT INTO vm_extras (vm, kind, dollars_per_month, price_from, added)
        VALUES (@vm, @kind, @dollars, (SELECT p.active_from FROM prices p WHERE p.size = @kind AND p.withdrawn IS NULL
            AND p.active_from <= @now AND p.dollars_per_month = @dollars ORDER BY p.active_from DESC LIMIT 1), @now)
        RETURNING id
        """;

    /// <summary>Those of VMs that are on another host than the database had them.</summary>
    public const string Forget = """
        -- ExtraSql.Forget
        UPDATE vm_extras SET removed = @now WHERE vm = ANY(@ids) AND removed IS NULL
        """;
}
