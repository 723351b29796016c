namespace Capsul.Hub.Features.Images;

/// <summary>An image of the catalog.</summary>
public sealed record ImageRow(
    string Id, string Title, string LoginUser, int MinDiskGb, int MinMemoryMb, bool Deprecated);

/// <summary>An image on one host, as its Spoke reported it. Disk in GiB, memory in MiB.</summary>
public sealed record HostImageRow(
    string Id, string Sha256, string Title, string LoginUser, int MinDiskGb, int MinMemoryMb);

/// <summary>An image that hosts have and that is not in the catalog.</summary>
public sealed record ProposedImageRow(
    string Id, string Host, string Title, string LoginUser, int MinDiskGb, int MinMemoryMb);

/// <summary>
/// Statements on images and on which host has which version. The operator manages the catalog (<c>images</c>): what a
/// Spoke reports about an image stays in its own rows of <c>host_images</c> until an operator offers it.
/// </summary>
public static class ImageSql
{
    /// <summary>
    /// Adds an image to the catalog, or updates it, with one host's description. No row: that host does not have it.
    /// </summary>
    public const string Offer = """
        -- ImageSql.Offer
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
        SELECT image, title, login_user, min_disk_gb, min_memory_mb FROM host_images WHERE image = @id AND host = @host
        ON CONFLICT (id) DO UPDATE SET title = excluded.title, login_user = excluded.login_user,
            min_disk_gb = excluded.min_disk_gb, min_memory_mb = excluded.min_memory_mb
        WHERE (images.title, images.login_user, images.min_disk_gb, images.min_memory_mb)
            IS DISTINCT FROM (excluded.title, excluded.login_user, excluded.min_disk_gb, excluded.min_memory_mb)
        """;

    /// <summary>
    /// Images that VMs boot from and the catalog does not have. Titles and minimum sizes are the operator's to say
    /// again (<see cref="Offer"/>).
    /// </summary>
    public const string AddMissing = """
        -- ImageSql.AddMissing
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
        SELECT id, id, login_user, 0, 0 FROM unnest(@ids::text[], @loginUsers::text[]) AS n (id, login_user)
        ON CONFLICT (id) DO NOTHING
        """;

    /// <summary>What VMs have that were adopted. It is in the catalog, but never offered.</summary>
    public const string AddAdopted = """
        -- ImageSql.AddAdopted
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb, deprecated)
        VALUES (@id, 'None (adopted)', 'root', 0, 0, TRUE)
        ON CONFLICT (id) DO UPDATE SET deprecated = TRUE WHERE NOT images.deprecated
        """;

    /// <summary>Images that hosts have and the catalog does not.</summary>
    public const string Proposed = """
        -- ImageSql.Proposed
        SELECT hi.image AS id, hi.host, hi.title, hi.login_user, hi.min_disk_gb, hi.min_memory_mb
        FROM host_images hi WHERE NOT EXISTS (SELECT FROM images i WHERE i.id = hi.image)
        ORDER BY hi.image, hi.host
        """;

    public const string HostsWith = """
        -- ImageSql.HostsWith
        SELECT host FROM host_images WHERE image = @id ORDER BY host
        """;

    public const string OfHost = """
        -- ImageSql.OfHost
        SELECT image AS id, sha256, title, login_user, min_disk_gb, min_memory_mb FROM host_images WHERE host = @host
        """;

    public const string ClearOfHost = """
        -- ImageSql.ClearOfHost
        DELETE FROM host_images WHERE host = @host AND NOT (image = ANY(@images))
        """;

    public const string PutOfHost = """
        -- ImageSql.PutOfHost
        INSERT INTO host_images (host, image, sha256, title, login_user, min_disk_gb, min_memory_mb)
        VALUES (@host, @id, @sha256, @title, @loginUser, @minDiskGb, @minMemoryMb)
        ON CONFLICT (host, image) DO UPDATE
        SET sha256 = excluded.sha256, title = excluded.title, login_user = excluded.login_user,
            min_disk_gb = excluded.min_disk_gb, min_memory_mb = excluded.min_memory_mb
        """;

    /// <summary>Images that at least one host that accepts VMs has.</summary>
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
        SELECT id, title, login_user, min_disk_gb, min_memory_mb, deprecated FROM images WHERE id = @image
        """;

    public const string Deprecate = """
        -- ImageSql.Deprecate
        UPDATE images SET deprecated = @deprecated WHERE id = @id
        """;
}
