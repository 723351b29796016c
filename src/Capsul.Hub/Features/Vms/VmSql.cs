using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Sizes;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A VM as its owner and the operations see it. Money in dollars a month, memory in MiB, disk in GiB.
/// </summary>
public sealed record VmRow(
    string Id, string Email, string Name, string Size, string Image, string LoginUser, string Host, DateTime Created,
    DateTime? Deleted, decimal DollarsPerMonth, int Vcpus, int MemoryMb, int DiskGb, string State, string Wanted,
    long WantedGeneration, int Restarts, string Observed, long ObservedGeneration, int ObservedRestarts,
    DateTime? ObservedAt, int Phase, string SshHost, int SshPort, string ConsoleTail, string Problem, bool ProblemFinal,
    string? Address)
{
    public SizeShape Shape => new(Vcpus, MemoryMb, DiskGb);

    /// <summary>The Spoke has reported on the latest wanted state.</summary>
    public bool Answered => ObservedGeneration >= WantedGeneration;

    /// <summary>SSH responded and the host keys were read (phase READY of the protocol).</summary>
    public bool Ready => Phase >= (int)Wire.Phase.Ready;
}

/// <summary>A host key, read over the serial console. Fingerprint as <c>SHA256:…</c>.</summary>
public sealed record VmHostKeyRow(string Type, string Key, string Fingerprint);

/// <summary>A host with its version of the image, enough capacity for the size, and a free address.</summary>
public sealed record PlaceRow(string Host, string ImageSha256, bool Emulated);

/// <summary>Statements on vms, addresses, sizes, images and usage: the tables of this feature.</summary>
public static class VmSql
{
    internal const string Columns = """
        v.id, v.email, v.name, v.size, v.image, v.login_user, v.host, v.created, v.deleted, v.dollars_per_month,
        v.vcpus, v.memory_mb, v.disk_gb, v.state, v.wanted, v.wanted_generation, v.restarts, v.observed,
        v.observed_generation, v.observed_restarts, v.observed_at, v.phase, v.ssh_host, v.ssh_port, v.console_tail,
        v.problem, v.problem_final, host(a.address) AS address
        """;

    /// <summary>One VM of one account; another account's is not found.</summary>
    public const string Find = $"""
        -- VmSql.Find
        SELECT {Columns}
        FROM vms v LEFT JOIN addresses a ON a.vm = v.id
        WHERE v.id = @id AND v.email = @email
        """;

    /// <summary>The same, locked for a decision.</summary>
    public const string Lock = $"""
        -- VmSql.Lock
        SELECT {Columns}
        FROM vms v LEFT JOIN addresses a ON a.vm = v.id
        WHERE v.id = @id AND v.email = @email FOR UPDATE OF v
        """;

    /// <summary>For operations and the link, which do not act for an account.</summary>
    public const string LockAny = $"""
        -- VmSql.LockAny
        SELECT {Columns}
        FROM vms v LEFT JOIN addresses a ON a.vm = v.id
        WHERE v.id = @id FOR UPDATE OF v
        """;

    public const string HostKeys = """
        -- VmSql.HostKeys
        SELECT type, key, fingerprint FROM vm_ssh_host_keys WHERE vm = @id ORDER BY type
        """;

    public const string LockAccount = """
        -- VmSql.LockAccount
        SELECT coalesce(max_vms, @max) FROM accounts WHERE email = @email FOR UPDATE
        """;

    public const string CountAlive = """
        -- VmSql.CountAlive
        SELECT count(*)::integer FROM vms WHERE email = @email AND deleted IS NULL
        """;

    const string MemoryUsed =
        "(SELECT coalesce(sum(v.memory_mb), 0) FROM vms v WHERE v.host = h.id AND v.deleted IS NULL)";

    /// <summary>
    /// Whether a host is online, accepts VMs, and has the image, an address, a relay port, the memory, and the disk
    /// space. Disks are thinly provisioned: @diskFactor times the file system's size may be allocated, and 4 GiB must
    /// be free.
    /// </summary>
    const string HasRoom = $"""
        h.state = 'joined' AND h.accepts AND h.online AND h.disk_free_mb >= 4096
            AND h.memory_mb - {MemoryUsed} >= @memoryMb
            AND (h.max_vms = 0 OR h.max_vms > (SELECT count(*) FROM vms v WHERE v.host = h.id AND v.deleted IS NULL))
            AND (h.disk_mb = 0 OR h.disk_mb * @diskFactor::numeric
                >= 1024::bigint * (@diskGb + (SELECT coalesce(sum(v.disk_gb), 0) FROM vms v
                    WHERE v.host = h.id AND v.deleted IS NULL)))
            AND EXISTS (SELECT FROM addresses a WHERE a.host = h.id AND a.vm IS NULL)
        """;

    /// <summary>
    /// Hosts that seem to have enough capacity, the one with the most free memory first. Nothing is locked, so it must
    /// be checked again.
    /// </summary>
    public const string Candidates = $"""
        -- VmSql.Candidates
        SELECT h.id FROM hosts h JOIN host_images hi ON hi.host = h.id AND hi.image = @image
        WHERE {HasRoom}
        ORDER BY h.memory_mb - {MemoryUsed} DESC, h.id
        """;

    public const string LockHost = """
        -- VmSql.LockHost
        SELECT id FROM hosts WHERE id = @host FOR UPDATE
        """;

    /// <summary>
    /// Whether a locked host has enough capacity. A separate statement after the lock: one that waits for a lock
    /// rechecks only the locked row, and would sum the VMs as they were before the wait.
    /// </summary>
    public const string Place = $"""
        -- VmSql.Place
        SELECT h.id AS host, hi.sha256 AS image_sha256, h.hypervisor LIKE '%(TCG)' AS emulated
        FROM hosts h JOIN host_images hi ON hi.host = h.id AND hi.image = @image
        WHERE h.id = @host AND {HasRoom}
        """;

    public const string Insert = """
        -- VmSql.Insert
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb,
            disk_gb, state, wanted, wanted_generation)
        VALUES (@id, @email, @name, @size, @image, @imageSha256, @loginUser, @host, @now, @dollarsPerMonth, @vcpus,
            @memoryMb,
            @diskGb, 'creating', 'on', @generation)
        """;

    public const string CountKeys = """
        -- VmSql.CountKeys
        SELECT count(*)::integer FROM ssh_keys WHERE email = @email AND id = ANY(@keyIds)
        """;

    public const string InsertKeys = """
        -- VmSql.InsertKeys
        INSERT INTO vm_ssh_keys (vm, name, type, key)
        SELECT @vm, name, type, key FROM ssh_keys WHERE email = @email AND id = ANY(@keyIds)
        """;

    public const string SetState = """
        -- VmSql.SetState
        UPDATE vms SET state = @state WHERE id = @id
        """;

    /// <summary>
    /// Sets what the owner wants from now on, and clears earlier problems. A restart request gets a number that was
    /// never used: a Spoke may have carried out a withdrawn one without being able to report it.
    /// </summary>
    public const string Order = """
        -- VmSql.Order
        UPDATE vms SET state = @state, wanted = @wanted, wanted_generation = @generation,
            stop_grace_seconds = @graceSeconds,
            restarts = CASE WHEN @restart THEN 1 + greatest(restarts, observed_restarts,
                (SELECT count(*)::integer FROM operations WHERE vm = @id AND kind = ANY(@restarting)))
                ELSE restarts END,
            problem = '', problem_final = FALSE, phase = CASE WHEN @wanted = 'on' THEN least(phase, 2) ELSE phase END
        WHERE id = @id
        """;

    /// <summary>
    /// Sets the wanted state without a request by the owner: a withdrawn request, a guest that shut itself down. A
    /// restart that was not carried out is withdrawn; the guest's time limit to shut down stays.
    /// </summary>
    public const string Want = """
        -- VmSql.Want
        UPDATE vms SET state = @state, wanted = @wanted, wanted_generation = @generation, restarts = observed_restarts,
            problem = '', problem_final = FALSE, phase = CASE WHEN @wanted = 'on' THEN least(phase, 2) ELSE phase END
        WHERE id = @id
        """;

    public const string MarkGone = """
        -- VmSql.MarkGone
        UPDATE vms SET state = @state, deleted = @now, problem = @problem
        WHERE id = @id AND wanted = 'gone' AND deleted IS NULL
        """;

    /// <summary>Starts charging those that are not charged.</summary>
    public const string OpenUsage = """
        -- VmSql.OpenUsage
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT v.id, v.email, tstzrange(greatest(@now, coalesce(
            (SELECT max(upper(s.span)) FROM usage_spans s WHERE s.vm = v.id), @now)), NULL), v.dollars_per_month
        FROM vms v
        WHERE v.id = ANY(@ids) AND NOT EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span))
        ORDER BY v.id
        """;

    /// <summary>Stops charging. A usage span that would be empty is deleted: nothing was used.</summary>
    public const string CloseUsage = """
        -- VmSql.CloseUsage
        WITH empty AS (DELETE FROM usage_spans WHERE vm = ANY(@ids) AND upper_inf(span) AND lower(span) >= @now)
        UPDATE usage_spans SET span = tstzrange(lower(span), @now)
        WHERE vm = ANY(@ids) AND upper_inf(span) AND lower(span) < @now
        """;

    /// <summary>
    /// Raises the host's generation and sets what the owner requested. Called before the operation is started.
    /// </summary>
    public static async Task OrderAsync(
        this NpgsqlTransaction transaction, VmRow vm, VmAction action, TimeSpan stopGrace, CancellationToken cancel)
    {
        var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host = vm.Host }, cancel);
        await transaction.ExecuteAsync(Order, new
        {
            id = vm.Id,
            state = action.Via,
            wanted = action.Wanted,
            generation,
            restart = action.Restarts,
            restarting = VmActions.Restarting,
            graceSeconds = (int)stopGrace.TotalSeconds,
        }, cancel);
    }

    /// <summary>Raises the host's generation and sets the VM's wanted state.</summary>
    public static Task WantAsync(
        this NpgsqlTransaction transaction, VmRow vm, string state, string wanted, CancellationToken cancel) =>
        transaction.WantAsync(vm.Id, vm.Host, state, wanted, cancel);

    /// <summary>The same, by ID and host.</summary>
    public static async Task WantAsync(
        this NpgsqlTransaction transaction, string id, string host, string state, string wanted,
        CancellationToken cancel)
    {
        var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host }, cancel);
        await transaction.ExecuteAsync(Want, new { id, state, wanted, generation }, cancel);
    }
}
