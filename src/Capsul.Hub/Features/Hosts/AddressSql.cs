namespace Capsul.Hub.Features.Hosts;

/// <summary>An address that was just taken.</summary>
public sealed record AddressRow(string Address, string Mac);

/// <summary>A further address of a VM.</summary>
public sealed record FurtherAddressRow(long Extra, string Address);

/// <summary>An address and the VM that has it.</summary>
public sealed record TakenAddressRow(string Address, string Vm);

/// <summary>Statements on addresses: those of each host, and which VM uses which.</summary>
public static class AddressSql
{
    public const string Put = """
        -- AddressSql.Put
        INSERT INTO addresses (host, address, mac)
        SELECT @host, address::inet, mac::macaddr FROM unnest(@addresses::text[], @macs::text[]) AS n (address, mac)
        ON CONFLICT DO NOTHING
        """;

    /// <summary>
    /// The first address of the VM v where it is: its hardware address and its IPv6 address belong to it. Those that
    /// have an extra are further ones.
    /// </summary>
    internal const string FirstOfVm = "addresses a ON a.vm = v.id AND a.host = v.host AND a.extra IS NULL";

    /// <summary>
    /// What makes an address usable for a new VM; a is the row, @now the time. One that an operator has reserved is
    /// not, nor one that cools down.
    /// </summary>
    internal const string IsFree =
        "a.vm IS NULL AND a.reserved = '' AND (a.usable_from IS NULL OR a.usable_from <= @now)";

    /// <summary>
    /// The interface identifier of a hardware address that this Hub made (see <see cref="Ipv4.Mac"/>) as a number:
    /// EUI-64 (RFC 4291, appendix A), so guests that configure themselves from the router's advertisement have that
    /// address, too.
    /// </summary>
    const string OwnIdentifier = """
        ((x'5054'::integer::bigint << 48) + (((a.address - '0.0.0.0'::inet) >> 24) << 40)
            + (x'fffe'::integer::bigint << 24) + ((a.address - '0.0.0.0'::inet) & 16777215))
        """;

    /// <summary>
    /// IPv6 addresses for all addresses of a host, after its pool has changed, and for new ones; none without a pool.
    /// </summary>
    public const string SetSix = $"""
        -- AddressSql.SetSix
        UPDATE addresses a SET address6 = w.six
        FROM (SELECT a.host, a.address, CASE WHEN a.mac = {OwnMac} THEN
                (SELECT host(p.network)::inet FROM pools p WHERE p.host = a.host AND p.family = 6) + {OwnIdentifier} END
                AS six FROM addresses a WHERE a.host = @host) AS w
        WHERE a.host = w.host AND a.address = w.address AND a.address6 IS DISTINCT FROM w.six
        """;

    /// <summary>Returns how many are reserved now; an empty reason releases them.</summary>
    public const string Reserve = """
        -- AddressSql.Reserve
        UPDATE addresses SET reserved = @reason
        WHERE host = @host AND address BETWEEN @first::inet AND @last::inet
        """;

    /// <summary>The reserved addresses of a host.</summary>
    public const string Reserved = """
        -- AddressSql.Reserved
        SELECT host(address) AS address, reserved AS reason, coalesce(vm, '') AS vm FROM addresses
        WHERE host = @host AND reserved <> '' ORDER BY address
        """;

    /// <summary>
    /// Deletes free addresses that are no longer in the host's network. Those in use stay until their VM is gone.
    /// </summary>
    public const string Drop = """
        -- AddressSql.Drop
        DELETE FROM addresses WHERE host = @host AND vm IS NULL AND NOT (host(address) = ANY(@addresses))
        """;

    public const string Count = """
        -- AddressSql.Count
        SELECT count(*)::integer FROM addresses WHERE host = @host AND host(address) = ANY(@addresses)
        """;

    /// <summary>
    /// Takes the address that has been free the longest, so that recently freed ones are not reused soon.
    /// </summary>
    public const string Take = $"""
        -- AddressSql.Take
        UPDATE addresses SET vm = @vm, freed = NULL, usable_from = NULL
        WHERE (host, address) = (SELECT a.host, a.address FROM addresses a WHERE a.host = @host AND {IsFree}
            ORDER BY a.freed NULLS FIRST, a.address LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING host(address) AS address, mac::text AS mac
        """;

    /// <summary>The VM keeps the hardware address that it had, unless another on this host has it.</summary>
    public const string KeepMac = """
        -- AddressSql.KeepMac
        UPDATE addresses a SET mac = @mac::macaddr, address6 = NULL
        WHERE a.vm = @vm AND a.extra IS NULL
            AND NOT EXISTS (SELECT FROM addresses o WHERE o.host = a.host AND o.mac = @mac::macaddr)
        """;

    /// <summary>The hardware address that address a has when it is put (see <see cref="Ipv4.Mac"/>).</summary>
    const string OwnMac = "('5254' || lpad(to_hex(a.address - '0.0.0.0'::inet), 8, '0'))::macaddr";

    /// <summary>
    /// The hardware address of a machine that was adopted goes with it: given back, it is on the same network as the
    /// VM that gets this address next.
    /// </summary>
    const string FreeAddress = $"""
        UPDATE addresses a SET vm = NULL, extra = NULL, freed = @now, usable_from = {AfterCoolDown}, mac = CASE
            WHEN EXISTS (SELECT FROM addresses o WHERE o.host = a.host AND o.mac = {OwnMac}) THEN a.mac
            ELSE {OwnMac} END
        """;

    const string AfterCoolDown = """
        @now::timestamptz + make_interval(secs => (SELECT p.cool_down_seconds FROM pools p
            WHERE p.host = a.host AND p.family = 4 AND p.cool_down_seconds > 0))
        """;

    public const string FreeMany = $"""
        -- AddressSql.FreeMany
        {FreeAddress} FROM vms v WHERE v.id = ANY(@ids) AND a.vm = v.id AND a.host = v.host
        """;

    /// <summary>The host is removed, and its network with it.</summary>
    public const string DropAll = """
        -- AddressSql.DropAll
        DELETE FROM addresses WHERE host = @host
        """;

    /// <summary>The addresses of a host that VMs have.</summary>
    public const string Taken = """
        -- AddressSql.Taken
        SELECT host(address) AS address, vm FROM addresses WHERE host = @host AND vm IS NOT NULL
        """;

    /// <summary>Gives VMs the addresses that they had, each if it is free.</summary>
    public const string TakeBack = """
        -- AddressSql.TakeBack
        UPDATE addresses a SET vm = n.vm, freed = NULL, usable_from = NULL
        FROM unnest(@addresses::text[], @vms::text[]) AS n (address, vm)
        WHERE a.host = @host AND a.address = n.address::inet AND a.vm IS NULL
        """;

    /// <summary>The same for a further address of a VM.</summary>
    public const string TakeBackFurther = """
        -- AddressSql.TakeBackFurther
        UPDATE addresses SET vm = @vm, extra = @extra, freed = NULL, usable_from = NULL
        WHERE host = @host AND address = @address::inet AND vm IS NULL
        """;

    /// <summary>The addresses of a VM on the host that it is on.</summary>
    public const string Free = $"""
        -- AddressSql.Free
        {FreeAddress} FROM vms v WHERE v.id = @id AND a.vm = v.id AND a.host = v.host
        """;

    /// <summary>The addresses of copies of VMs on a host.</summary>
    public const string FreeCopies = $"""
        -- AddressSql.FreeCopies
        UPDATE addresses a SET vm = NULL, extra = NULL, freed = @now, usable_from = {AfterCoolDown}
        WHERE a.vm = ANY(@ids) AND a.host = @host
        """;

    /// <summary>
    /// A further address that its VM gives back, wherever it has one for it. It is not used again before the Spoke has
    /// had time to keep the VM from it.
    /// </summary>
    public const string FreeFurther = $"""
        -- AddressSql.FreeFurther
        UPDATE addresses a SET vm = NULL, extra = NULL, freed = @now,
            usable_from = greatest({AfterCoolDown}, @now::timestamptz + interval '5 minutes')
        WHERE a.vm = @vm AND a.extra = @extra
        """;

    /// <summary>
    /// A further address for a VM on a host: the preferred one if it is free there, or else the one longest free.
    /// </summary>
    public const string TakeFurther = $"""
        -- AddressSql.TakeFurther
        UPDATE addresses SET vm = @vm, extra = @extra, freed = NULL, usable_from = NULL
        WHERE (host, address) = (SELECT a.host, a.address FROM addresses a WHERE a.host = @host AND {IsFree}
            ORDER BY host(a.address) <> @preferred, a.freed NULLS FIRST, a.address LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING host(address) AS address, mac::text AS mac
        """;

    /// <summary>The further addresses that a VM has where it is, and for which extra.</summary>
    public const string FurtherOfVm = """
        -- AddressSql.FurtherOfVm
        SELECT a.extra, host(a.address) AS address FROM vms v JOIN addresses a ON a.vm = v.id AND a.host = v.host
        WHERE v.id = @id AND a.extra IS NOT NULL ORDER BY a.address
        """;

    /// <summary>Takes the preferred address on a host if it is free there, or else the one longest free.</summary>
    public const string TakePreferred = $"""
        -- AddressSql.TakePreferred
        UPDATE addresses SET vm = @vm, freed = NULL, usable_from = NULL
        WHERE (host, address) = (SELECT a.host, a.address FROM addresses a WHERE a.host = @host AND {IsFree}
            ORDER BY host(a.address) <> @preferred, a.freed NULLS FIRST, a.address LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING host(address) AS address, mac::text AS mac
        """;
}
