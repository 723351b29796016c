namespace Capsul.Hub.Features.Vms;

/// <summary>Statements for VMs that are made of foreign machines.</summary>
public static class AdoptVmSql
{
    /// <summary>Locks the account of the new owner; no row: there is none.</summary>
    public const string LockAccount = """
        -- AdoptVmSql.LockAccount
        SELECT email FROM accounts WHERE email = @email FOR NO KEY UPDATE
        """;

    /// <summary>The VM that a foreign machine becomes, or became.</summary>
    public const string MadeOf = """
        -- AdoptVmSql.MadeOf
        SELECT id FROM vms WHERE host = @host AND adopt = @uuid AND adopt <> '' AND deleted IS NULL
        """;

    /// <summary>Whether the locked host has capacity; no row: it has not.</summary>
    public const string Check = $"""
        -- AdoptVmSql.Check
        SELECT h.hypervisor LIKE '%(TCG)' FROM hosts h WHERE h.id = @host AND {PlaceSql.HasRoom}
        """;

    /// <summary>It has run, so that its disk is never made again.</summary>
    public const string Insert = """
        -- AdoptVmSql.Insert
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            price_from, price_percent, vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, has_run, adopt)
        VALUES (@id, @email, @name, @size, @image, repeat('0', 64), 'root', @host, @now, @dollarsPerMonth, @priceFrom,
            @pricePercent, @vcpus, @memoryMb, @diskGb, 'creating', 'on', @generation, TRUE, @adopt)
        """;

    /// <summary>For display: the guest has its own.</summary>
    public const string InsertKeys = """
        -- AdoptVmSql.InsertKeys
        INSERT INTO vm_ssh_keys (vm, name, type, key) SELECT @id, name, type, key FROM ssh_keys WHERE email = @email
        """;

    /// <summary>The Spoke learns with the new generation that nothing will be given back.</summary>
    public const string End = """
        -- AdoptVmSql.End
        UPDATE vms SET state = 'running', adopted = TRUE, wanted_generation = @generation WHERE id = @id
        """;
}
