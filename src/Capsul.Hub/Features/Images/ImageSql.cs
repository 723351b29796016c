namespace Capsul.Hub.Features.Images;

/// <summary>What can be booted.</summary>
public sealed record ImageRow(string Id, string Title, string LoginUser, int MinDiskGb, int MinMemoryMb, bool Deprecated);

/// <summary>Statements on images and on which host has which version.</summary>
public static class ImageSql
{
    public const string Put = """
        -- ImageSql.Put
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
        VALUES (@id, @title, @loginUser, @minDiskGb, @minMemoryMb)
        ON CONFLICT (id) DO UPDATE SET title = excluded.title, login_user = excluded.login_user,
            min_disk_gb = excluded.min_disk_gb, min_memory_mb = excluded.min_memory_mb
        """;

    public const string ClearOfHost = """
        -- ImageSql.ClearOfHost
        DELETE FROM host_images WHERE host = @host AND NOT (image = ANY(@images))
        """;

    public const string PutOfHost = """
        -- ImageSql.PutOfHost
        INSERT INTO host_images (host, image, sha256) VALUES (@host, @image, @sha256)
        ON CONFLICT (host, image) DO UPDATE SET sha256 = excluded.sha256
        """;

    /// <summary>Images that some host that can take VMs has.</summary>
    public const string Offered = """
        -- ImageSql.Offered
        SELECT i.id, i.title, i.login_user, i.min_disk_gb, i.min_memory_mb, i.deprecated
        FROM images i
        WHERE NOT i.deprecated AND EXISTS (SELECT FROM host_images hi JOIN hosts h ON h.id = hi.host
            WHERE hi.image = i.id AND h.state = 'joined' AND h.accepts)
        ORDER BY i.title, i.id
        """;

    public const string Find = """
        -- ImageSql.Find
        SELECT id, title, login_user, min_disk_gb, min_memory_mb, deprecated FROM images WHERE id = @id
        """;

    public const string Deprecate = """
        -- ImageSql.Deprecate
        UPDATE images SET deprecated = @deprecated WHERE id = @id
        """;
}
