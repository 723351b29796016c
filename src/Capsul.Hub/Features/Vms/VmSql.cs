using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.SpendingLimits;
using Capsul.Hub.Features.SshKeys;
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
    DateTime? Queued, bool Paused, string? Address, string? Address6, long Disk, long ObservedDisk,
    long ObservedRescue, bool InRescue, decimal ExtrasPerMonth)
{
    public SizeShape Shape => new(Vcpus, MemoryMb, DiskGb);

    /// <summary>The Spoke has reported on the latest wanted state.</summary>
    public bool Answered => ObservedGeneration >= WantedGeneration;

    /// <summary>SSH responded and the host keys were read (phase READY of the protocol).</summary>
    public bool Ready => Phase >= (int)Wire.Phase.Ready;
}

/// <summary>A host key, read over the serial console. Fingerprint as <c>SHA256:…</c>.</summary>
public sealed record VmHostKeyRow(string Type, string Key, string Fingerprint);

/// <summary>Statements on vms, addresses, sizes, images and usage: the tables of this feature.</summary>
public static class VmSql
{
    internal const string Columns = """
        v.id, v.email, v.name, v.size, v.image, v.login_user, v.host, v.created, v.deleted, v.dollars_per_month,
        v.vcpus, v.memory_mb, v.disk_gb, v.state, v.wanted, v.wanted_generation, v.restarts, v.observed,
        v.observed_generation, v.observed_restarts, v.observed_at, v.phase, v.ssh_host, v.ssh_port, v.console_tail,
        v.problem, v.problem_final, v.queued, v.paused, host(a.address) AS address,
        host(a.address6) AS address6, v.disk, v.observed_disk, v.observed_rescue,
        EXISTS (SELECT FROM rescues r WHERE r.vm = v.id AND r.ended IS NULL) AS in_rescue,
        v.extras_per_month
        """;

    /// <summary>One VM of one account; another account's is not found.</summary>
    public const string Find = $"""
        -- VmSql.Find
        SELECT {Columns}
        FROM vms v LEFT JOIN {AddressSql.FirstOfVm}
        WHERE v.id = @id AND v.email = @email
        """;

    /// <summary>The same, locked for a decision.</summary>
    public const string Lock = $"""
        -- VmSql.Lock
        SELECT {Columns}
        FROM vms v LEFT JOIN {AddressSql.FirstOfVm}
        WHERE v.id = @id AND v.email = @email FOR UPDATE OF v
        """;

    /// <summary>For operations and the link, which do not act for an account.</summary>
    public const string LockAny = $"""
        -- VmSql.LockAny
        SELECT {Columns}
        FROM vms v LEFT JOIN {AddressSql.FirstOfVm}
        WHERE v.id = @id FOR UPDATE OF v
        """;

    public const string HostKeys = """
        -- VmSql.HostKeys
        SELECT type, key, fingerprint FROM vm_ssh_host_keys WHERE vm = @id ORDER BY type
        """;

    /// <summary>
    /// Not FOR UPDATE: that would also keep out every new row that refers to the account, such as a usage span, whose
    /// transaction may already have locked the totals of the account.
    /// </summary>
    public const string LockAccount = """
        -- VmSql.LockAccount
        SELECT coalesce(max_vms, least(@max, vms_by_age(email, @now))) FROM accounts WHERE email = @email
        FOR NO KEY UPDATE
        """;

    /// <summary>Its host's generation must have been raised for it.</summary>
    public const string Insert = $"""
        -- VmSql.Insert
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            price_from, price_percent, vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, queued, build_turn)
        VALUES (@id, @email, @name, @size, @image, @imageSha256, @loginUser, @host, @now, @dollarsPerMonth, @priceFrom,
            @pricePercent, @vcpus, @memoryMb, @diskGb, 'creating', 'on',
            (SELECT h.generation FROM hosts h WHERE h.id = @host), @queued, {BuildQueueSql.NextTurn})
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

    /// <summary>Locks an account, and finds a VM of it.</summary>
    internal const string LockAccountAndFind = $"{SshKeySql.LockAccount};\n{Find}";

    /// <summary>What a create is decided on. The account is locked first; the others see it as it is then.</summary>
    internal const string LockAccountAndFacts = $"{LockAccount};\n{SizeSql.Find};\n{ImageSql.Find};\n"
        + $"{CountKeys};\n{BillingSql.Balance};\n{BillingSql.CountAlive};\n{SpendingLimitSql.Cap}";

    /// <summary>A new VM on a locked host. Returns the generation, and the address if one was free.</summary>
    internal const string Add = $"{HostSql.NextGeneration};\n{Insert};\n{InsertKeys};\n{AddressSql.Take}";

    /// <summary>The chosen keys of an account, each as a line of an authorized_keys file.</summary>
    public const string ChosenKeys = """
        -- VmSql.ChosenKeys
        SELECT type || ' ' || key FROM ssh_keys WHERE email = @email AND id = ANY(@keyIds) ORDER BY name, id
        """;

    public const string DeleteKeys = """
        -- VmSql.DeleteKeys
        DELETE FROM vm_ssh_keys WHERE vm = @id
        """;

    /// <summary>The keys of an account that a VM has.</summary>
    public const string KeyIds = """
        -- VmSql.KeyIds
        SELECT k.id FROM ssh_keys k JOIN vm_ssh_keys v ON v.type = k.type AND v.key = k.key
        WHERE v.vm = @id AND k.email = @email
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
            queued = CASE WHEN @state = 'creating' THEN queued END,
            problem = '', problem_final = FALSE, phase = CASE WHEN @wanted = 'on' THEN least(phase, 2) ELSE phase END
        WHERE id = @id
        """;

    /// <summary>
    /// Something about it that its Spoke must know has changed, and not its power. It answers as it does a new wanted
    /// state.
    /// </summary>
    public const string Renew = """
        -- VmSql.Renew
        UPDATE vms SET wanted_generation = @generation WHERE id = @id
        """;

    public const string MarkGone = """
        -- VmSql.MarkGone
        UPDATE vms SET state = @state, deleted = @now, problem = @problem
        WHERE id = @id AND wanted = 'gone' AND deleted IS NULL
        """;

    /// <summary>Starts charging those that are not charged, and their extras.</summary>
    public const string OpenUsage = """
        -- VmSql.OpenUsage
        INSERT INTO usage_spans (vm, extra, email, span, dollars_per_month)
        SELECT v.id, i.extra, v.email, tstzrange(greatest(@now, coalesce(
                (SELECT upper(s.span) FROM usage_spans s WHERE s.vm = v.id
                    ORDER BY coalesce(upper(s.span), 'infinity'::timestamptz) DESC LIMIT 1), @now)), NULL),
            i.dollars
        FROM vms v, LATERAL (SELECT NULL::bigint AS extra, v.dollars_per_month AS dollars
            UNION ALL SELECT x.id, x.dollars_per_month FROM vm_extras x
                WHERE x.vm = v.id AND x.removed IS NULL) AS i
        WHERE v.id = ANY(@ids) AND NOT EXISTS (SELECT FROM usage_spans s
            WHERE s.vm = v.id AND coalesce(upper(s.span), 'infinity'::timestamptz) = 'infinity'
                AND s.extra IS NOT DISTINCT FROM i.extra)
        ORDER BY v.id, i.extra
        """;

    /// <summary>
    /// Stops charging those that are charged, and their extras, of all time after @now: that may be before a price
    /// changed, which has begun another span. A usage span that would be empty is deleted: nothing was used.
    /// </summary>
    public const string CloseUsage = """
        -- VmSql.CloseUsage
        WITH charged AS MATERIALIZED (SELECT vm FROM usage_spans
            WHERE vm = ANY(@ids) AND coalesce(upper(span), 'infinity'::timestamptz) = 'infinity'),
        empty AS (DELETE FROM usage_spans s USING charged c WHERE s.vm = c.vm
            AND coalesce(upper(s.span), 'infinity'::timestamptz) > @now AND lower(s.span) >= @now)
        UPDATE usage_spans s SET span = tstzrange(lower(s.span), @now) FROM charged c
        WHERE s.vm = c.vm AND coalesce(upper(s.span), 'infinity'::timestamptz) > @now AND lower(s.span) < @now
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

    /// <summary>Has the VM's Spoke told what has changed. The host's row is locked from here on.</summary>
    public static Task RenewAsync(this NpgsqlTransaction transaction, VmRow vm, CancellationToken cancel) =>
        transaction.RenewAsync(vm.Id, vm.Host, cancel);

    /// <summary>The same, by ID and host.</summary>
    public static async Task RenewAsync(
        this NpgsqlTransaction transaction, string id, string host, CancellationToken cancel)
    {
        var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host }, cancel);
        await transaction.ExecuteAsync(Renew, new { id, generation }, cancel);
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
