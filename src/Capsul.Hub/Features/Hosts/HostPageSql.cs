namespace Capsul.Hub.Features.Hosts;

/// <summary>A host as operators see it. Memory and disk in MiB.</summary>
public sealed record ShownHostRow(
    string Id, string State, bool Accepts, string DrainReason, bool Online, DateTime? LastSeen, string Problem,
    string Version, string Hypervisor, int Cpus, int MemoryMb, long DiskFreeMb, long DiskMb, long Generation,
    long Acknowledged, int ClockSkewSeconds, string BootId, DateTime? Rebooted, DateTime? CertificateEnds, int Vms,
    long MemoryUsedMb, bool Evacuating, string EvacuateTo)
{
    /// <summary>Free disk space in words; old Spokes do not report the size of the file system.</summary>
    public string Disk => DiskMb == 0 ? $"{DiskFreeMb / 1024} GiB" : $"{DiskFreeMb / 1024} of {DiskMb / 1024} GiB";
}

/// <summary>A VM on a host, for operators.</summary>
public sealed record HostedVmRow(
    string Id, string Email, string Name, string State, string Observed, int MemoryMb, long? Operation);

/// <summary>Statements of the operators' pages and of <c>capsul host list</c>.</summary>
public static class HostPageSql
{
    const string Columns = """
        h.id, h.state, h.accepts, h.drain_reason, h.online, h.last_seen, h.problem, h.version, h.hypervisor, h.cpus,
        h.memory_mb, h.disk_free_mb, h.disk_mb, h.generation, h.acknowledged, h.clock_skew_seconds, h.boot_id,
        h.rebooted, h.certificate_ends, h.vms, h.memory_used_mb,
        h.evacuating, h.evacuate_to
        """;

    /// <summary>A page of hosts, after the one named; those that were removed are history.</summary>
    public const string List = $"""
        -- HostPageSql.List
        SELECT {Columns} FROM hosts h
        WHERE h.state <> 'removed' AND h.id > @after AND (@search = '' OR strpos(h.id, @search) > 0)
        ORDER BY h.id LIMIT @limit
        """;

    public const string Find = $"""
        -- HostPageSql.Find
        SELECT {Columns} FROM hosts h WHERE h.id = @id AND h.state <> 'removed'
        """;

    public const string Vms = """
        -- HostPageSql.Vms
        SELECT v.id, v.email, v.name, v.state, v.observed, v.memory_mb,
            (SELECT o.id FROM operations o WHERE o.vm = v.id AND o.finished IS NULL) AS operation
        FROM vms v WHERE v.host = @host AND v.deleted IS NULL AND v.id > @after ORDER BY v.id LIMIT @limit
        """;
}
