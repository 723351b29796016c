using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Engine;

/// <summary>A durable piece of work. Status: running, undoing, or final: done, failed, cancelled.</summary>
public sealed record OperationRow(
    long Id, string Kind, string Vm, string Email, string Step, string Status, DateTime RunAt, int Attempt,
    DateTime Created, DateTime DeadlineAt, DateTime? Finished, string? Asked, string Problem);

/// <summary>One line of an operation's history.</summary>
public sealed record OperationEventRow(DateTime At, string Step, string Message);

/// <summary>An operation that was woken, and its VM.</summary>
public sealed record WokenRow(long Id, string Vm);

public static class OperationSql
{
    internal const string Columns = "o.id, o.kind, o.vm, o.email, o.step, o.status, o.run_at, o.attempt, o.created, "
        + "o.deadline_at, o.finished, o.asked, o.problem";

    /// <summary>With its first line.</summary>
    public const string Start = """
        -- OperationSql.Start
        WITH started AS (
            INSERT INTO operations (kind, vm, email, step, run_at, created, deadline_at)
            VALUES (@kind, @vm, @email, @step, @now, @now, @deadlineAt) RETURNING id)
        INSERT INTO operation_events (operation, at, step, message) SELECT id, @now, @step, @message FROM started
        RETURNING operation
        """;

    /// <summary>The next operation that is due, locked; other runners skip it.</summary>
    public const string Take = $"""
        -- OperationSql.Take
        SELECT {Columns}
        FROM operations o WHERE o.finished IS NULL AND o.run_at <= @now
        ORDER BY o.run_at, o.id LIMIT 1 FOR UPDATE SKIP LOCKED
        """;

    public const string NextDue = """
        -- OperationSql.NextDue
        SELECT min(run_at) FROM operations WHERE finished IS NULL
        """;

    public const string Save = """
        -- OperationSql.Save
        UPDATE operations SET step = @step, status = @status, run_at = @runAt, attempt = @attempt, finished = @finished,
            problem = @problem, detail = @detail, deadline_at = coalesce(@deadlineAt::timestamptz, deadline_at)
        WHERE id = @id
        """;

    /// <summary>A step threw: retry later, and store the reason.</summary>
    public const string Postpone = """
        -- OperationSql.Postpone
        UPDATE operations SET run_at = @runAt, attempt = attempt + 1, detail = @detail
        WHERE id = @id AND finished IS NULL
        """;

    /// <summary>A step threw after the deadline: start the undo.</summary>
    public const string GiveUp = """
        -- OperationSql.GiveUp
        UPDATE operations SET status = 'undoing', attempt = 0, run_at = @now, problem = @problem, detail = @detail
        WHERE id = @id AND status = 'running'
        """;

    /// <summary>Wakes the operations of these VMs; only for the host that they are on.</summary>
    public const string WakeFromHost = """
        -- OperationSql.WakeFromHost
        UPDATE operations o SET run_at = @now FROM vms v
        WHERE o.finished IS NULL AND o.vm = ANY(@ids) AND v.id = o.vm AND v.host = @host RETURNING o.id, o.vm
        """;

    /// <summary>The same, whatever host they are on.</summary>
    public const string WakeOf = """
        -- OperationSql.WakeOf
        UPDATE operations SET run_at = @now WHERE finished IS NULL AND vm = ANY(@ids) RETURNING id, vm
        """;

    /// <summary>Wakes locked operations.</summary>
    public const string Wake = """
        -- OperationSql.Wake
        UPDATE operations SET run_at = @now WHERE vm = ANY(@vms) AND finished IS NULL
        """;

    /// <summary>
    /// After a restore: what was running in the backup is done again, with all its time. Its deadline has passed, but
    /// it may have succeeded since, and undoing it would delete a VM that is in use. A backup of schema version 2 or
    /// older has none.
    /// </summary>
    public const string BeginAgain = """
        -- OperationSql.BeginAgain
        DO $$
        BEGIN
            UPDATE operations SET deadline_at = now() + (deadline_at - created), created = now(), run_at = now()
            WHERE finished IS NULL AND status = 'running';
        EXCEPTION WHEN undefined_table THEN
            NULL;
        END $$
        """;

    /// <summary>
    /// Requests cancellation or a forced end; null only requests a retry. Only running operations can be canceled; the
    /// request is kept, because the final status is then "cancelled" and not "failed".
    /// </summary>
    public const string Ask = """
        -- OperationSql.Ask
        UPDATE operations SET asked = coalesce(@asked, asked), run_at = @now
        WHERE id = @id AND finished IS NULL AND (status = 'running' OR @asked IS DISTINCT FROM 'cancel')
        """;

    public const string AddEvent = """
        -- OperationSql.AddEvent
        INSERT INTO operation_events (operation, at, step, message) VALUES (@id, @now, @step, @message)
        """;

    /// <summary>Together: by then a step may hold locks that others wait for.</summary>
    internal const string SaveAndTell = $"{Save};\n{AddEvent}";

    /// <summary>The same for many, without the lines that an operation already has.</summary>
    public const string AddEventsOnce = """
        -- OperationSql.AddEventsOnce
        INSERT INTO operation_events (operation, at, step, message)
        SELECT n.id, @now, @step, n.message
        FROM unnest(@ids::bigint[], @messages::text[]) WITH ORDINALITY AS n (id, message, place)
        WHERE NOT EXISTS (SELECT FROM operation_events e
            WHERE e.operation = n.id AND e.step = @step AND e.message = n.message)
        ORDER BY n.place
        """;

    /// <summary>An event for the history: an operation that is inserted as done.</summary>
    public const string Record = """
        -- OperationSql.Record
        WITH done AS (
            INSERT INTO operations (kind, vm, email, step, status, run_at, created, deadline_at, finished)
            VALUES (@kind, @vm, @email, '', 'done', @now, @now, @now, @now) RETURNING id)
        INSERT INTO operation_events (operation, at, step, message) SELECT id, @now, '', @message FROM done
        """;

    /// <summary>The same for many VMs, as failed: what happened to them was nobody's wish.</summary>
    public const string RecordFailed = """
        -- OperationSql.RecordFailed
        WITH failed AS (
            INSERT INTO operations (kind, vm, email, step, status, run_at, created, deadline_at, finished, problem)
            SELECT @kind, v.id, v.email, '', 'failed', @now, @now, @now, @now, @problem
            FROM vms v WHERE v.id = ANY(@vms) ORDER BY v.id RETURNING id)
        INSERT INTO operation_events (operation, at, step, message) SELECT id, @now, '', @problem FROM failed
        """;

    /// <summary>Starts operations of many VMs that have none.</summary>
    public const string StartMany = """
        -- OperationSql.StartMany
        WITH started AS (
            INSERT INTO operations (kind, vm, email, step, run_at, created, deadline_at)
            SELECT n.kind, n.vm, n.email, n.step, @now, @now, n.deadline
            FROM unnest(@kinds::text[], @vms::text[], @emails::text[], @steps::text[], @deadlines::timestamptz[])
                AS n (kind, vm, email, step, deadline)
            ON CONFLICT (vm) WHERE finished IS NULL DO NOTHING
            RETURNING id, step)
        INSERT INTO operation_events (operation, at, step, message) SELECT id, @now, step, @message FROM started
        """;

    /// <summary>Ends operations without another step: their host is gone.</summary>
    public const string EndAll = """
        -- OperationSql.EndAll
        WITH ended AS (
            UPDATE operations SET status = 'failed', asked = 'force', finished = @now, problem = @problem
            WHERE id = ANY(@ids) AND finished IS NULL RETURNING id, step)
        INSERT INTO operation_events (operation, at, step, message) SELECT id, @now, step, @problem FROM ended
        """;

    /// <summary>The newest operation of a VM, finished or not.</summary>
    public const string Newest = $"""
        -- OperationSql.Newest
        SELECT {Columns} FROM operations o WHERE o.vm = @vm ORDER BY o.id DESC LIMIT 1
        """;

    public const string Find = $"""
        -- OperationSql.Find
        SELECT {Columns} FROM operations o WHERE o.id = @id
        """;

    public const string Lock = $"""
        -- OperationSql.Lock
        SELECT {Columns} FROM operations o WHERE o.id = @id FOR UPDATE
        """;

    public const string OpenOf = $"""
        -- OperationSql.OpenOf
        SELECT {Columns} FROM operations o WHERE o.vm = @vm AND o.finished IS NULL
        """;

    /// <summary>Locked, and before the VM: the runner also locks the operation first and then its VM.</summary>
    public const string LockOpenOf = """
        -- OperationSql.LockOpenOf
        SELECT id FROM operations WHERE vm = @vm AND finished IS NULL FOR UPDATE
        """;

    /// <summary>The same for several VMs.</summary>
    public const string LockOpenOfMany = """
        -- OperationSql.LockOpenOfMany
        SELECT id FROM operations WHERE vm = ANY(@vms) AND finished IS NULL ORDER BY id FOR UPDATE
        """;

    /// <summary>Locked, and before the VMs, as above.</summary>
    public const string LockOpenOnHost = """
        -- OperationSql.LockOpenOnHost
        SELECT o.id FROM operations o JOIN vms v ON v.id = o.vm
        WHERE v.host = @host AND o.finished IS NULL ORDER BY o.id FOR UPDATE OF o
        """;

    public const string ListOpen = $"""
        -- OperationSql.ListOpen
        SELECT {Columns} FROM operations o WHERE o.finished IS NULL ORDER BY o.id
        """;

    public const string Events = """
        -- OperationSql.Events
        SELECT at, step, message FROM operation_events WHERE operation = @id ORDER BY id
        """;

    /// <summary>Starts an operation in the caller's transaction, with its first line.</summary>
    public static Task<long> StartOperationAsync(
        this NpgsqlTransaction transaction, string kind, string vm, string email, string step, string message,
        DateTime now, TimeSpan limit, CancellationToken cancel) =>
        transaction.AskAsync<long>(
            Start, new { kind, vm, email, step, message, now, deadlineAt = now + limit }, cancel);
}
