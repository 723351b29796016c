using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A move, and the copy of its VM on the host that the VM is not on. CopyWanted: receive, off or gone; CopyHost is null
/// once nothing is left there.
/// </summary>
public sealed record MoveRow(
    long Id, string Vm, long? Operation, string FromHost, string ToHost, string Transfer, string Was, DateTime Started,
    DateTime? Switched, DateTime? Ended, bool Ran, string? CopyHost, string CopyWanted, long CopyGeneration,
    string CopyObserved, long CopyObservedGeneration, long BytesDone, long BytesTotal, string Sha256, string Problem,
    bool ProblemFinal)
{
    /// <summary>The target has the whole disk, and has verified it.</summary>
    public bool HasArrived => CopyWanted == "receive" && Sha256.Length > 0;

    /// <summary>The wanted state that belongs to the VM's state before.</summary>
    public string WasWanted => VmActions.WantedIn(Was);
}

/// <summary>A copy of a VM, as far as reports of its host change it.</summary>
public sealed record CopyRow(
    long Id, string Vm, string Transfer, string CopyWanted, long CopyGeneration, string CopyObserved,
    long CopyObservedGeneration, long BytesDone, long BytesTotal, string Sha256, string Problem, bool ProblemFinal);

/// <summary>A transfer that is going on: who sends, who receives, and how large the VM's disk is.</summary>
public sealed record TransferRow(string FromHost, string ToHost, int DiskGb);

/// <summary>A copy that was kept until its VM had run on the other host.</summary>
public sealed record KeptCopyRow(long Id, string Vm, string CopyHost);

/// <summary>A copy that was kept, and what the VM is to be if it returns to it.</summary>
public sealed record ReturningRow(long Id, string Vm, string CopyHost, string Was);

/// <summary>Statements on moves and on the copies of VMs.</summary>
public static class MoveSql
{
    const string Columns = """
        m.id, m.vm, m.operation, m.from_host, m.to_host, m.transfer, m.was, m.started, m.switched, m.ended, m.ran,
        m.copy_host, m.copy_wanted, m.copy_generation, m.copy_observed, m.copy_observed_generation, m.bytes_done,
        m.bytes_total, m.sha256, m.problem, m.problem_final
        """;

    const string CopyColumns = """
        m.id, m.vm, m.transfer, m.copy_wanted, m.copy_generation, m.copy_observed, m.copy_observed_generation,
        m.bytes_done, m.bytes_total, m.sha256, m.problem, m.problem_final
        """;

    /// <summary>A VM of any account, for operators.</summary>
    public const string FindVm = $"""
        -- MoveSql.FindVm
        SELECT {VmSql.Columns} FROM vms v LEFT JOIN {AddressSql.FirstOfVm} WHERE v.id = @id
        """;

    /// <summary>The move of a VM that is going on. Whoever changes it has locked the VM.</summary>
    public const string OpenOf = $"""
        -- MoveSql.OpenOf
        SELECT {Columns} FROM moves m WHERE m.vm = @vm AND m.ended IS NULL
        """;

    /// <summary>The move that an operation carries out.</summary>
    public const string OfOperation = $"""
        -- MoveSql.OfOperation
        SELECT {Columns} FROM moves m WHERE m.operation = @operation ORDER BY m.id DESC LIMIT 1
        """;

    /// <summary>The VM is wanted off at the source, and its guest gets time to shut down.</summary>
    public const string Begin = """
        -- MoveSql.Begin
        UPDATE vms SET state = 'moving', wanted = 'off', wanted_generation = @generation,
            stop_grace_seconds = @graceSeconds, restarts = observed_restarts, problem = '', problem_final = FALSE
        WHERE id = @id
        """;

    public const string Insert = """
        -- MoveSql.Insert
        INSERT INTO moves (vm, operation, from_host, to_host, transfer, was, started, copy_host, copy_generation,
            vcpus, memory_mb, disk_gb)
        SELECT v.id, @operation, v.host, @to, @transfer, @was, @now, @to, @generation, v.vcpus, v.memory_mb, v.disk_gb
        FROM vms v WHERE v.id = @vm
        """;

    /// <summary>The record of the operation was lost, and another one goes on.</summary>
    public const string Adopt = """
        -- MoveSql.Adopt
        UPDATE moves SET operation = @operation WHERE id = @id
        """;

    /// <summary>
    /// The VM is on another host from now on; what its Spoke reports of it is not known yet. Generations of two hosts
    /// cannot be compared, so nothing that was observed before counts.
    /// </summary>
    public const string PutOnHost = """
        -- MoveSql.PutOnHost
        UPDATE vms SET host = @host, state = @state, wanted = @wanted, wanted_generation = @generation,
            moves = moves + 1, restarts = observed_restarts, observed = 'unknown', observed_generation = 0,
            phase = 0, ssh_host = '', ssh_port = 0, problem = '', problem_final = FALSE, paused = FALSE
        WHERE id = @id
        """;

    /// <summary>What the VM has left behind on the other host.</summary>
    public const string Switch = """
        -- MoveSql.Switch
        UPDATE moves SET switched = @now, copy_host = @copyHost, copy_wanted = 'off', copy_generation = @generation,
            copy_observed = 'unknown', copy_observed_generation = 0, problem = '', problem_final = FALSE
        WHERE id = @id
        """;

    /// <summary>The move is over, and the copy is removed.</summary>
    public const string End = """
        -- MoveSql.End
        UPDATE moves SET ended = @now, copy_host = @copyHost, copy_wanted = 'gone', copy_generation = @generation,
            copy_observed_generation = CASE WHEN copy_host = @copyHost THEN copy_observed_generation ELSE 0 END,
            problem = '', problem_final = FALSE
        WHERE id = @id
        """;

    /// <summary>The move is over, and the copy is kept: the VM has not run on the new host yet.</summary>
    public const string EndKeeping = """
        -- MoveSql.EndKeeping
        UPDATE moves SET ended = @now WHERE id = @id
        """;

    public const string MarkRan = """
        -- MoveSql.MarkRan
        UPDATE moves SET ran = TRUE
        WHERE vm = @vm AND ended IS NULL AND switched IS NOT NULL AND to_host = @host AND NOT ran
        """;

    /// <summary>
    /// Copies that were kept, of VMs that have run on their new host since. And those that their Spoke does not drop,
    /// because the database was restored and knows too little of the VM's moves, when the owner has deleted the VM.
    /// </summary>
    const string MayGo = """
        m.ended IS NOT NULL AND ((m.copy_wanted = 'off' AND (v.observed = 'on' OR v.state = 'deleted'))
            OR (m.copy_wanted = 'gone' AND m.problem_final AND v.state = 'deleted'))
        """;

    public const string Kept = $"""
        -- MoveSql.Kept
        SELECT m.id, m.vm, m.copy_host FROM moves m JOIN vms v ON v.id = m.vm
        WHERE m.copy_host IS NOT NULL AND {MayGo} ORDER BY m.vm LIMIT @limit
        """;

    public const string LockKept = $"""
        -- MoveSql.LockKept
        SELECT v.id FROM moves m JOIN vms v ON v.id = m.vm
        WHERE m.id = @id AND m.copy_host = @host AND {MayGo} FOR UPDATE OF v
        """;

    public const string DropKept = """
        -- MoveSql.DropKept
        UPDATE moves SET copy_wanted = 'gone', copy_generation = @generation, problem = '', problem_final = FALSE
        WHERE id = @id
        """;

    /// <summary>VMs of a host of which another one has kept its copy: they have not run since they left it.</summary>
    public const string KeptElsewhere = """
        -- MoveSql.KeptElsewhere
        SELECT m.id, m.vm, m.copy_host, m.was FROM moves m JOIN vms v ON v.id = m.vm
        WHERE v.host = @host AND v.deleted IS NULL AND m.to_host = @host AND m.copy_host IS NOT NULL
            AND m.copy_wanted = 'off' AND m.ended IS NOT NULL
        ORDER BY m.vm
        """;

    /// <summary>The VM is where its copy was, and nothing is left to remove.</summary>
    public const string EndReturned = """
        -- MoveSql.EndReturned
        UPDATE moves SET copy_host = NULL WHERE id = @id
        """;

    /// <summary>Hosts, locked in the usual order.</summary>
    public const string LockHosts = """
        -- MoveSql.LockHosts
        SELECT id FROM hosts WHERE id = ANY(@hosts) ORDER BY id FOR NO KEY UPDATE
        """;

    /// <summary>VMs of other hosts, of which this host has a copy.</summary>
    public const string FindCopies = $"""
        -- MoveSql.FindCopies
        SELECT {CopyColumns} FROM moves m WHERE m.copy_host = @host AND m.vm = ANY(@ids)
        """;

    /// <summary>Their VMs, locked in the usual order.</summary>
    public const string LockVms = """
        -- MoveSql.LockVms
        SELECT id FROM vms WHERE id = ANY(@ids) ORDER BY id FOR UPDATE
        """;

    /// <summary>What hosts report of copies. One that is gone, as wanted, is over.</summary>
    public const string Observe = """
        -- MoveSql.Observe
        UPDATE moves m SET copy_observed = n.observed, copy_observed_generation = n.generation,
            bytes_done = n.bytes_done, bytes_total = n.bytes_total, sha256 = n.sha256, problem = n.problem,
            problem_final = n.final,
            copy_host = CASE WHEN n.is_over THEN NULL ELSE m.copy_host END
        FROM unnest(@ids::bigint[], @observed::text[], @generations::bigint[], @bytesDone::bigint[],
            @bytesTotal::bigint[], @sums::text[], @problems::text[], @finals::boolean[], @over::boolean[])
            AS n (id, observed, generation, bytes_done, bytes_total, sha256, problem, final, is_over)
        WHERE m.id = n.id
        """;

    /// <summary>Copies on a host that was removed.</summary>
    public const string ForgetHost = """
        -- MoveSql.ForgetHost
        UPDATE moves SET copy_host = NULL WHERE copy_host = @host AND ended IS NOT NULL
        """;

    /// <summary>How many moves from or to a host are going on.</summary>
    public const string CountOpen = """
        -- MoveSql.CountOpen
        SELECT count(*)::integer FROM moves WHERE ended IS NULL AND (from_host = @host OR to_host = @host)
        """;

    /// <summary>A transfer, while both hosts want it.</summary>
    public const string FindTransfer = """
        -- MoveSql.FindTransfer
        SELECT m.from_host, m.to_host, m.disk_gb FROM moves m JOIN vms v ON v.id = m.vm
        WHERE m.transfer = @transfer AND m.ended IS NULL AND m.switched IS NULL AND m.copy_wanted = 'receive'
            AND v.wanted = 'off'
        """;
}
