using System.Globalization;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Sizes;

/// <summary>What can be bought.</summary>
/// <param name="DollarsPerMonth">Of the line that is in force.</param>
/// <param name="PriceFrom">Since when it is.</param>
/// <param name="PricePercent">The level of the account, at which that is.</param>
public sealed record SizeRow(string Id, decimal DollarsPerMonth, DateTime PriceFrom, int Vcpus, int MemoryMb,
    int DiskGb, int PricePercent = 100)
{
    public SizeShape Shape => new(Vcpus, MemoryMb, DiskGb);
}

/// <summary>A size as operators see it.</summary>
/// <param name="Vms">That have it.</param>
public sealed record SizeLineRow(
    string Id, decimal DollarsPerMonth, int Vcpus, int MemoryMb, int DiskGb, bool Retired, long Vms)
{
    public SizeShape Shape => new(Vcpus, MemoryMb, DiskGb);
}

/// <summary>What a size consists of. The pages show every part that is listed here.</summary>
public sealed record SizeShape(int Vcpus, int MemoryMb, int DiskGb)
{
    /// <summary>Headings of the columns of a price list.</summary>
    public static IEnumerable<string> Headings => new SizeShape(0, 0, 0).Parts.Select(part => part.Heading);

    /// <summary>Of each part: its heading, its value below that heading, and both in one phrase.</summary>
    public IReadOnlyList<(string Heading, string Value, string Phrase)> Parts =>
    [
        ("CPUs", Vcpus.ToString(CultureInfo.InvariantCulture), Show.Count(Vcpus, "CPU", "CPUs")),
        ("Memory", Show.Memory(MemoryMb), $"{Show.Memory(MemoryMb)} memory"),
        ("Disk", $"{DiskGb} GiB", $"{DiskGb} GiB disk"),
    ];

    public string In(string separator) => string.Join(separator, Parts.Select(part => part.Phrase));
}

/// <summary>Statements on sizes. Prices are those that the account @email pays; empty: the standard prices.</summary>
public static class SizeSql
{
    const string Columns = """
        s.id, price_at(p.dollars_per_month, price_percent(@email)) AS dollars_per_month, p.active_from AS price_from,
            s.vcpus, s.memory_mb, s.disk_gb, price_percent(@email) AS price_percent
        """;

    public const string Offered = $"""
        -- SizeSql.Offered
        SELECT {Columns} FROM sizes s, {PriceSql.InForce} AS p WHERE NOT s.retired ORDER BY p.dollars_per_month, s.id
        """;

    public const string Find = $"""
        -- SizeSql.Find
        SELECT {Columns} FROM sizes s, {PriceSql.InForce} AS p WHERE s.id = @size AND NOT s.retired
        """;

    /// <summary>
    /// Those that are no longer on sale, too. Locked, so that prices of a size are announced one after the other.
    /// </summary>
    public const string Lock = """
        -- SizeSql.Lock
        SELECT id FROM sizes WHERE id = @id FOR NO KEY UPDATE
        """;

    public const string All = """
        -- SizeSql.All
        SELECT id FROM sizes ORDER BY id
        """;

    /// <summary>All of them, for operators, at the standard price that is in force.</summary>
    public const string ListAll = $"""
        -- SizeSql.ListAll
        SELECT s.id, p.dollars_per_month, s.vcpus, s.memory_mb, s.disk_gb, s.retired, coalesce(c.vms, 0) AS vms
        FROM sizes s LEFT JOIN (SELECT v.size, count(*) AS vms FROM vms v WHERE v.deleted IS NULL GROUP BY v.size) AS c
            ON c.size = s.id, {PriceSql.InForce} AS p
        ORDER BY s.retired, p.dollars_per_month, s.id
        """;

    /// <summary>With its first price, which a trigger makes a line of. Nothing if there is one of that name.</summary>
    public const string Add = """
        -- SizeSql.Add
        INSERT INTO sizes (id, dollars_per_month, vcpus, memory_mb, disk_gb)
        VALUES (@id, @dollars, @vcpus, @memoryMb, @diskGb) ON CONFLICT DO NOTHING
        """;

    /// <summary>On or off sale, if it is not so already.</summary>
    public const string SetRetired = """
        -- SizeSql.SetRetired
        UPDATE sizes SET retired = @retired WHERE id = @id AND retired <> @retired
        """;

    /// <summary>Sizes that VMs have and that are no longer on sale, each with its first price.</summary>
    public const string AddMissing = """
        -- SizeSql.AddMissing
        INSERT INTO sizes (id, dollars_per_month, vcpus, memory_mb, disk_gb, retired)
        SELECT id, dollars, vcpus, memory_mb, disk_gb, TRUE
        FROM unnest(@ids::text[], @dollars::numeric[], @vcpus::integer[], @memoryMb::integer[], @diskGb::integer[])
            AS n (id, dollars, vcpus, memory_mb, disk_gb)
        ON CONFLICT (id) DO NOTHING
        """;
}
