using System.Globalization;

namespace Capsul.Postgres.Statements;

static class StatementsSql
{
    /// <summary>Makes the output of values independent of settings of the server or the role.</summary>
    /// <remarks>
    /// The first column is the OID of the operator log's table, or null if there is none. Scripts may change
    /// search_path, and dumps empty it, so the schema is explicit. Without parameters, because preparing for them takes
    /// a fifth of a short call's time.
    /// </remarks>
    public static string PrepareSession(long timeoutMs, bool readOnly) =>
        string.Create(CultureInfo.InvariantCulture, $"""
        SELECT to_regclass('public.operator_statements')::oid::bigint,
            set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, MDY', false),
            set_config('IntervalStyle', 'postgres', false), set_config('bytea_output', 'hex', false),
            set_config('extra_float_digits', '1', false), set_config('standard_conforming_strings', 'on', false),
            -- A killed client leaves no statement running.
            set_config('client_connection_check_interval', '1s', false),
            set_config('statement_timeout', '{timeoutMs}', false), set_config('default_transaction_read_only',
                '{(readOnly ? "on" : "off")}', false)
        """);

    public const string HasWritten = """
        -- StatementsSql.HasWritten
        SELECT pg_current_xact_id_if_assigned() IS NOT NULL
        """;

    /// <summary>
    /// Rows that this transaction has written so far, in any table, including temporary tables and catalogs.
    /// </summary>
    public const string RowsWritten = """
        -- StatementsSql.RowsWritten
        SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_xact_all_tables
        """;

    /// <summary>
    /// Inserts only into the table that existed when the call began: one that a dump has just created is not complete
    /// yet.
    /// </summary>
    public const string LogStatement = """
        -- StatementsSql.LogStatement
        INSERT INTO public.operator_statements (at, operator, statement, rows)
        SELECT clock_timestamp(), $1, $2, $3::bigint WHERE to_regclass('public.operator_statements')::oid::bigint = $4
        """;

    /// <summary>
    /// Number of rows of a table: exact if that is quick (64 MB or less), otherwise estimated by the last ANALYZE; null
    /// if there is no such table.
    /// </summary>
    public const string TableRows = """
        -- StatementsSql.TableRows
        SELECT CASE
            WHEN c.relkind = 'r' AND pg_relation_size(c.oid) <= 67108864
                THEN (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', c.oid::regclass),
                    false, true, '')))[1]::text::bigint
            WHEN c.reltuples >= 0 THEN c.reltuples::bigint
        END
        FROM pg_class c WHERE c.oid = to_regclass($1)
        """;

    public const string HasSchema = """
        -- StatementsSql.HasSchema
        SELECT to_regclass('public.schemaversion') IS NOT NULL OR to_regclass('schemaversion') IS NOT NULL
        """;

    /// <summary>
    /// Rows that this transaction has inserted into a table and its partitions, from the server's statistics.
    /// </summary>
    public const string Inserted = """
        -- StatementsSql.Inserted
        SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(t.id)), 0)::bigint
        FROM (SELECT to_regclass($1) AS id UNION SELECT relid FROM pg_partition_tree(to_regclass($1))) t
        """;

    /// <summary>
    /// Forces nested loops, which keep the order of the outer table, for the rest of the transaction.
    /// </summary>
    public const string JoinInOrder = """
        -- StatementsSql.JoinInOrder
        SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
        """;

    public const string JoinAsUsual = """
        -- StatementsSql.JoinAsUsual
        SELECT set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true)
        """;

    public const string CancelBackend = """
        -- StatementsSql.CancelBackend
        SELECT pg_cancel_backend($1)
        """;
}
