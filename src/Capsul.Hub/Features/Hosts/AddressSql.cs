namespace Capsul.Hub.Features.Hosts;

/// <summary>An address that was just taken.</summary>
public sealed record AddressRow(string Address, string Mac);

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

    public const string FreeMany = """
        -- AddressSql.FreeMany
        UPDATE addresses SET vm = NULL, freed = @now WHERE vm = ANY(@ids)
        """;

    /// <summary>The host is removed, and its network with it.</summary>
    public const string DropAll = """
        -- AddressSql.DropAll
        DELETE FROM addresses WHERE host = @host
        """;

    public const string Free = """
        -- AddressSql.Free
        UPDATE addresses SET vm = NULL, freed = @now WHERE vm = @id
        """;
}
