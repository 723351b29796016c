using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Dunning;

/// <param name="Seconds">For which Hubs have been at work.</param>
/// <param name="Paused">Why no account takes a step; empty: they do.</param>
public sealed record DunningClockRow(long Seconds, string Paused);

/// <summary>An account for which something may be due.</summary>
public sealed record DunningAccountRow(string Email, decimal Paid, decimal Used, decimal DollarsPerMonth, bool Charged,
    short? Step, long? Told, bool Held)
{
    public BalanceRow Balance => new(Paid, Used, DollarsPerMonth);
}

/// <summary>A VM whose account's dunning says that it is to be stopped, started or deleted.</summary>
public sealed record DunnedVmRow(string Id, string Email);

/// <summary>Statements of what happens when money runs low.</summary>
public static class DunningSql
{
    public const string Steps = """
        -- DunningSql.Steps
        SELECT step, action, template, runway_hours, after_hours FROM dunning_steps ORDER BY step
        """;

    /// <summary>
    /// Until the end of the transaction nobody changes the steps: a number that was read means what it meant.
    /// </summary>
    public const string KeepSteps = """
        -- DunningSql.KeepSteps
        SELECT pg_advisory_xact_lock_shared(hashtextextended('capsul dunning steps', 0))::text
        """;

    public const string Clock = """
        -- DunningSql.Clock
        SELECT seconds, paused FROM dunning_clock
        """;

    /// <summary>
    /// The time since the last tick is counted, but no more than @most seconds: there was no Hub, or its clock jumped.
    /// None while it is paused. What time it is at the latest goes on by up to twice as much, so it catches up with the
    /// Hub's clock, and is never ahead of it.
    /// </summary>
    public const string Tick = """
        -- DunningSql.Tick
        UPDATE dunning_clock SET ticked = @now, seconds = seconds + CASE WHEN paused = ''
            THEN least(@most, greatest(0, coalesce(floor(extract(epoch FROM @now - ticked)), 0))) ELSE 0 END::bigint,
            trusted = least(@now, coalesce(trusted, ticked, @now) + interval '2 seconds' * least(@most, greatest(0,
                coalesce(extract(epoch FROM @now - ticked), 0))))
        RETURNING seconds, paused
        """;

    /// <summary>
    /// What time it is at the latest, for what cannot be undone. Before any Hub was at work, it is what its clock says.
    /// </summary>
    public const string Trusted = """
        -- DunningSql.Trusted
        SELECT least(@now, coalesce(trusted, @now)) FROM dunning_clock
        """;

    /// <summary>The mail server has the email: from now on the person knows.</summary>
    public const string MarkTold = """
        -- DunningSql.MarkTold
        UPDATE dunning d SET told = (SELECT seconds FROM dunning_clock)
        FROM mails m WHERE m.id = d.mail AND m.sent IS NOT NULL AND d.told IS NULL
        """;

    /// <summary>An account that is held has all its time again when that ends.</summary>
    public const string StartOver = """
        -- DunningSql.StartOver
        UPDATE dunning d SET told = (SELECT seconds FROM dunning_clock)
        FROM dunning_holds h WHERE h.email = d.email AND h.until > @now AND d.told IS NOT NULL
        """;

    /// <summary>They were left long enough ago that a new email is no repetition.</summary>
    public const string Forget = """
        -- DunningSql.Forget
        DELETE FROM dunning WHERE step = 0 AND told < (SELECT seconds FROM dunning_clock) - @seconds
        """;

    const string Columns = $"""
        t.email, {BillingSql.BalanceColumns}, t.open_rate > 0 AS charged, d.step, d.told,
            coalesce(h.until > @now, FALSE) AS held
        """;

    const string Joined = """
        LEFT JOIN dunning d ON d.email = t.email LEFT JOIN dunning_holds h ON h.email = t.email
        """;

    /// <summary>
    /// Accounts whose money runs out before @horizon (seconds since 1970), and those that have taken a step. A page
    /// begins after @after.
    /// </summary>
    public const string Candidates = $"""
        -- DunningSql.Candidates
        SELECT {Columns}
        FROM (
            SELECT a.email FROM account_totals a
            WHERE a.open_rate > 0 AND (a.paid * 2630016 - a.used + a.open_start) / a.open_rate <= @horizon
            UNION SELECT email FROM dunning) AS c
            JOIN account_totals t ON t.email = c.email {Joined}
        WHERE c.email > @after ORDER BY c.email LIMIT @limit
        """;

    /// <summary>One account, while <see cref="LockTotals"/> is held.</summary>
    public const string Find = $"""
        -- DunningSql.Find
        SELECT {Columns} FROM account_totals t {Joined} WHERE t.email = @email
        """;

    /// <summary>A payment waits for this, and a step for a payment.</summary>
    public const string LockTotals = """
        -- DunningSql.LockTotals
        SELECT email FROM account_totals WHERE email = @email FOR NO KEY UPDATE
        """;

    public const string Take = """
        -- DunningSql.Take
        INSERT INTO dunning (email, step, taken, mail) VALUES (@email, @step, @now, @mail)
        ON CONFLICT (email) DO UPDATE SET step = excluded.step, taken = excluded.taken, mail = excluded.mail,
            told = NULL
        """;

    /// <summary>The person knows that they are there: what comes next is counted from now. Step 0 is none.</summary>
    public const string GoBack = """
        -- DunningSql.GoBack
        UPDATE dunning SET step = @step, taken = @now, told = (SELECT seconds FROM dunning_clock) WHERE email = @email
        """;

    const string StoppedAccount = """
        EXISTS (SELECT FROM dunning d JOIN dunning_steps s ON s.step <= d.step AND s.action <> 'mail'
            WHERE d.email = v.email)
        """;

    /// <summary>Whether an account's VMs are stopped because it has not paid.</summary>
    public const string IsStopped = """
        -- DunningSql.IsStopped
        SELECT EXISTS (SELECT FROM dunning d JOIN dunning_steps s ON s.step <= d.step AND s.action <> 'mail'
            WHERE d.email = @email)
        """;

    const string NotHeld =
        "NOT EXISTS (SELECT FROM dunning_holds h WHERE h.email = v.email AND h.until > @now)";

    /// <summary>One that could not be stopped is tried again after @retry.</summary>
    public const string ToStop = $"""
        -- DunningSql.ToStop
        SELECT v.id, v.email FROM dunning d JOIN vms v ON v.email = d.email AND v.deleted IS NULL
        WHERE d.step >= @step AND v.state = 'running' AND v.observed <> 'unknown'
            AND {NotHeld}
            AND NOT EXISTS (SELECT FROM dunning_stops s WHERE s.vm = v.id AND s.stopped > @retry)
        ORDER BY v.id LIMIT @limit
        """;

    public const string ToDelete = $"""
        -- DunningSql.ToDelete
        SELECT v.id, v.email FROM dunning d JOIN vms v ON v.email = d.email AND v.deleted IS NULL
        WHERE d.step >= @step AND v.state IN ('running', 'stopped') AND v.observed <> 'unknown'
            AND {NotHeld}
        ORDER BY v.id LIMIT @limit
        """;

    /// <summary>VMs that were stopped, and whose account has paid, or which are gone.</summary>
    public const string ToStart = $"""
        -- DunningSql.ToStart
        SELECT v.id, v.email FROM dunning_stops n JOIN vms v ON v.id = n.vm
        WHERE v.deleted IS NOT NULL OR (v.state IN ('running', 'stopped') AND v.observed <> 'unknown'
            AND NOT {StoppedAccount})
        ORDER BY v.id LIMIT @limit
        """;

    public const string NoteStop = """
        -- DunningSql.NoteStop
        INSERT INTO dunning_stops (vm, stopped) VALUES (@id, @now)
        ON CONFLICT (vm) DO UPDATE SET stopped = excluded.stopped
        """;

    public const string ForgetStop = """
        -- DunningSql.ForgetStop
        DELETE FROM dunning_stops WHERE vm = @id
        """;
}
