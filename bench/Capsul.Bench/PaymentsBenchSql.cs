namespace Capsul.Bench;

/// <summary>What an account has, by its payments.</summary>
sealed record PaidRow(string Email, decimal Paid);

/// <summary>What counts of a payment at the provider.</summary>
sealed record CountedRow(string Reference, decimal Counts);

/// <summary>What the server has written so far.</summary>
sealed record WrittenRow(long Commits, long Rows);

/// <summary>Statements of <see cref="PaymentsBench"/>.</summary>
static class PaymentsBenchSql
{
    public const string AddAccounts = """
        -- PaymentsBenchSql.AddAccounts
        INSERT INTO accounts (email) SELECT 'user' || n || '@example.org' FROM generate_series(0, @accounts - 1) AS n
        """;

    /// <summary>What the page to add money writes.</summary>
    public const string Begin = """
        -- PaymentsBenchSql.Begin
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, next_poll)
        SELECT 'stripe', 'user' || n % @accounts || '@example.org', 5 + n % 46, 'bench-' || n, now(),
            'http://127.0.0.1/balance/payments/' || n, now()
        FROM generate_series(@first, @last) AS n
        """;

    /// <summary>Payments that are due, and events that nobody has handled.</summary>
    public const string Waiting = """
        -- PaymentsBenchSql.Waiting
        SELECT (SELECT count(*) FROM provider_payments
            WHERE claimed IS NOT NULL OR next_poll <= now() OR status = 'new' OR failing_since IS NOT NULL)
            + (SELECT count(*) FROM provider_events WHERE handled IS NULL)
        """;

    /// <summary>Lets the time come at which the Hub asks about every payment that is not final.</summary>
    public const string Due = """
        -- PaymentsBenchSql.Due
        UPDATE provider_payments SET next_poll = now() WHERE next_poll IS NOT NULL
        """;

    public const string Paid = """
        -- PaymentsBenchSql.Paid
        SELECT email, paid FROM account_totals
        """;

    public const string Counted = """
        -- PaymentsBenchSql.Counted
        SELECT p.reference, coalesce(sum(c.dollars), 0) AS counts
        FROM provider_payments p LEFT JOIN payments c ON c.provider_payment = p.id AND NOT c.invalidated
        WHERE p.reference IS NOT NULL GROUP BY p.reference
        """;

    public const string Written = """
        -- PaymentsBenchSql.Written
        SELECT d.xact_commit AS commits, (SELECT sum(t.n_tup_ins + t.n_tup_upd) FROM pg_stat_user_tables t)::bigint
            AS rows
        FROM pg_stat_database d WHERE d.datname = current_database()
        """;

    public const string MakeBare = """
        -- PaymentsBenchSql.MakeBare
        CREATE TABLE bare_payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL,
            about text NOT NULL, amount numeric NOT NULL)
        """;

    /// <summary>For pgbench: a commit of so many rows, each about as long as one of a payment.</summary>
    public const string BareScript = """
        INSERT INTO bare_payments (at, about, amount)
        SELECT now(), repeat('x', 200), n FROM generate_series(1, :rows) AS n;
        """;
}
