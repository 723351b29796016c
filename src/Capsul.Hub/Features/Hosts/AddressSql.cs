namespace Capsul.Hub.Features.Hosts;

/// <summary>An address that was just taken.</summary>
public sealed record AddressRow(string Address, string Mac);

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
    public const string Take = """
        -- AddressSql.Take
        UPDATE addresses SET vm = @vm, freed = NULL
        WHERE (host, address) = (SELECT host, address FROM addresses WHERE host = @host AND vm IS NULL
            ORDER BY freed NULLS FIRST, address LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING host(address) AS address, mac::text AS mac
        """;

    /// <summary>The VM keeps the hardware address that it had, unless another on this host has it.</summary>
    public const string KeepMac = """
        -- AddressSql.KeepMac
        UPDATE addresses a SET mac = @mac::macaddr
        WHERE a.vm = @vm AND NOT EXISTS (SELECT FROM addresses o WHERE o.host = a.host AND o.mac = @mac::macaddr)
        """;

    /// <summary>The hardware address that address a has when it is put (see <see cref="Ipv4.Mac"/>).</summary>
    const string OwnMac = "('5254' || lpad(to_hex(a.address - '0.0.0.0'::inet), 8, '0'))::macaddr";

    /// <summary>
    /// The hardware address of a machine that was adopted goes with it: given back, it is on the same network as the
    /// VM that gets this address next.
    /// </summary>
    const string FreeAddress = $"""
        UPDATE addresses a SET vm = NULL, freed = @now, mac = CASE
            WHEN EXISTS (SELECT FROM addresses o WHERE o.host = a.host AND o.mac = {OwnMac}) THEN a.mac
            ELSE {OwnMac} END
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
        UPDATE addresses a SET vm = n.vm, freed = NULL
        FROM unnest(@addresses::text[], @vms::text[]) AS n (address, vm)
        WHERE a.host = @host AND a.address = n.address::inet AND a.vm IS NULL
        """;

    /// <summary>The address of a VM on the host that it is on.</summary>
    public const string Free = $"""
        -- AddressSql.Free
        {FreeAddress} FROM vms v WHERE v.id = @id AND a.vm = v.id AND a.host = v.host
        """;

    /// <summary>The addresses of copies of VMs on a host.</summary>
    public const string FreeCopies = """
        -- AddressSql.FreeCopies
        UPDATE addresses SET vm = NULL, freed = @now WHERE vm = ANY(@ids) AND host = @host
        """;

    /// <summary>Takes the preferred address on a host if it is free there, or else the one longest free.</summary>
    public const string TakePreferred = """
        -- AddressSql.TakePreferred
        UPDATE addresses SET vm = @vm, freed = NULL
        WHERE (host, address) = (SELECT host, address FROM addresses WHERE host = @host AND vm IS NULL
            ORDER BY host(address) <> @preferred, freed NULLS FIRST, address LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING host(address) AS address, mac::text AS mac
        """;
}
