namespace Capsul.Hub.Features.Sizes;

/// <summary>What can be bought.</summary>
public sealed record SizeRow(string Id, decimal DollarsPerMonth, int Vcpus, int MemoryMb, int DiskGb);

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
}
