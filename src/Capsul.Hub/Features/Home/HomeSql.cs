namespace Capsul.Hub.Features.Home;

/// <summary>Statements of the first page: what there is to buy and to boot.</summary>
public static class HomeSql
{
    public sealed record Size(string Id, decimal DollarsPerMonth, int Vcpus, int MemoryMb, int DiskGb);

    public const string Sizes = """
        -- HomeSql.Sizes
        SELECT id, dollars_per_month, vcpus, memory_mb, disk_gb FROM sizes WHERE NOT retired ORDER BY dollars_per_month, id
        """;

    public const string Images = """
        -- HomeSql.Images
        SELECT title FROM images WHERE NOT deprecated ORDER BY title
        """;
}
