using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Dunning;

/// <summary>An account that has taken a step, as operators see it.</summary>
/// <param name="Undelivered">Its email was given up, so it goes no further.</param>
/// <param name="HeldUntil">An operator keeps it from going further.</param>
public sealed record DunnedAccountRow(string Email, short Step, DateTime Taken, bool IsTold, bool Undelivered,
    DateTime? HeldUntil, string? HoldReason, decimal Paid, decimal Used, decimal DollarsPerMonth)
{
    public BalanceRow Balance => new(Paid, Used, DollarsPerMonth);

    /// <summary>What became of the email of its step.</summary>
    public string Delivery => Step == 0 ? "" : IsTold ? "delivered" : Undelivered ? "not delivered" : "waiting";
}

/// <summary>Where an account is, for its owner.</summary>
/// <param name="Seconds">For how long its step is known to the owner, by the clock.</param>
public sealed record DunningPlaceRow(short? Step, long Seconds, DateTime? HeldUntil);

/// <summary>What operators change, and what pages show.</summary>
public static class DunningPageSql
{
    /// <summary>Held accounts are listed too, those furthest on the way first. A page begins after @after.</summary>
    public const string List = $"""
        -- DunningPageSql.List
        SELECT c.email, coalesce(d.step, 0::smallint) AS step, coalesce(d.taken, @now) AS taken,
            d.told IS NOT NULL AS is_told, m.given_up IS NOT NULL OR (d.email IS NOT NULL AND d.mail IS NULL)
                AND d.told IS NULL AS undelivered,
            CASE WHEN h.until > @now THEN h.until END AS held_until, h.reason AS hold_reason,
            {BillingSql.BalanceColumns}
        FROM (SELECT email FROM dunning UNION SELECT email FROM dunning_holds WHERE until > @now) AS c
            LEFT JOIN dunning d ON d.email = c.email LEFT JOIN mails m ON m.id = d.mail
            LEFT JOIN dunning_holds h ON h.email = c.email LEFT JOIN account_totals t ON t.email = c.email
        WHERE c.email > @after ORDER BY c.email LIMIT @limit
        """;

    public const string Place = """
        -- DunningPageSql.Place
        SELECT (SELECT step FROM dunning WHERE email = @email) AS step,
            coalesce((SELECT c.seconds - d.told FROM dunning d, dunning_clock c WHERE d.email = @email), 0) AS seconds,
            (SELECT until FROM dunning_holds WHERE email = @email AND until > @now) AS held_until
        """;

    public const string AccountExists = """
        -- DunningPageSql.AccountExists
        SELECT EXISTS (SELECT FROM accounts WHERE email = @email)
        """;

    public const string Hold = """
        -- DunningPageSql.Hold
        INSERT INTO dunning_holds (email, until, reason, actor) VALUES (@email, @until, @reason, @actor)
        ON CONFLICT (email) DO UPDATE SET until = excluded.until, reason = excluded.reason, actor = excluded.actor
        """;

    public const string Release = """
        -- DunningPageSql.Release
        DELETE FROM dunning_holds WHERE email = @email
        """;

    public const string Tell = """
        -- DunningPageSql.Tell
        UPDATE dunning SET told = (SELECT seconds FROM dunning_clock) WHERE email = @email AND told IS NULL
        """;

    /// <summary>No reason ends it, and says that no payment is missing any more.</summary>
    public const string Pause = """
        -- DunningPageSql.Pause
        UPDATE dunning_clock SET paused = @reason, lost_payments = lost_payments AND @reason <> ''
        """;

    /// <summary>After it is paused: payments may be missing.</summary>
    public const string LosePayments = """
        -- DunningPageSql.LosePayments
        UPDATE dunning_clock SET lost_payments = TRUE
        """;

    public const string Change = """
        -- DunningPageSql.Change
        UPDATE dunning_steps SET runway_hours = coalesce(@runway, runway_hours),
            after_hours = coalesce(@after, after_hours)
        WHERE step = @step
        """;

    /// <summary>One change after the other; whoever takes steps waits, too.</summary>
    public const string LockSteps = """
        -- DunningPageSql.LockSteps
        SELECT pg_advisory_xact_lock(hashtextextended('capsul dunning steps', 0))::text
        """;

    /// <summary>Accounts go along.</summary>
    public const string MoveUp = """
        -- DunningPageSql.MoveUp
        UPDATE dunning_steps SET step = step + 1 WHERE step = @step
        """;

    public const string Add = """
        -- DunningPageSql.Add
        INSERT INTO dunning_steps (step, action, template, runway_hours, after_hours)
        VALUES (@step, @action, @template, @runway, @after)
        """;

    public const string Remove = """
        -- DunningPageSql.Remove
        DELETE FROM dunning_steps WHERE step = @step
        """;

    /// <summary>
    /// Payments since the backup are not in the database: nobody is stopped, deleted or charged for them. A backup of
    /// schema version 20 or older has no dunning; after the upgrade it is paused. One of version 46 or older does not
    /// know why it is paused; its upgrade takes that for the reason.
    /// </summary>
    public const string PauseAfterRestore = """
        -- DunningPageSql.PauseAfterRestore
        DO $$
        BEGIN
            UPDATE dunning_clock SET paused = 'a backup was restored: record the payments since then' WHERE paused = '';
            BEGIN
                UPDATE dunning_clock SET lost_payments = TRUE;
            EXCEPTION WHEN undefined_column THEN
                NULL;
            END;
        EXCEPTION WHEN undefined_table THEN
            NULL;
        END $$
        """;
}
