using System.Globalization;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Sizes;

/// <summary>What can be bought.</summary>
public sealed record SizeRow(string Id, decimal DollarsPerMonth, int Vcpus, int MemoryMb, int DiskGb)
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

/// <summary>Statements on sizes.</summary>
public static class SizeSql
{
    public const string Offered = """
        -- SizeSql.Offered
        SELECT id, dollars_per_month, vcpus, memory_mb, disk_gb FROM sizes WHERE NOT retired
        ORDER BY dollars_per_month, id
        """;

    public const string Find = """
        -- SizeSql.Find
        SELECT id, dollars_per_month, vcpus, memory_mb, disk_gb FROM sizes WHERE id = @id AND NOT retired
        """;

    /// <summary>Sizes that VMs have and that are no longer on sale.</summary>
    public const string AddMissing = """
        -- SizeSql.AddMissing
        INSERT INTO sizes (id, dollars_per_month, vcpus, memory_mb, disk_gb, retired)
        SELECT id, dollars, vcpus, memory_mb, disk_gb, TRUE
        FROM unnest(@ids::text[], @dollars::numeric[], @vcpus::integer[], @memoryMb::integer[], @diskGb::integer[])
            AS n (id, dollars, vcpus, memory_mb, disk_gb)
        ON CONFLICT (id) DO NOTHING
        """;
}
