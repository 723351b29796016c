namespace Capsul.Postgres;

/// <summary>Basic queries that every part needs.</summary>
public static class ServerSql
{
    /// <summary>Such as 150018 for 15.18.</summary>
    public const string ServerVersion = """
        -- ServerSql.ServerVersion
        SELECT current_setting('server_version_num')::integer
        """;

    /// <summary>Whether the database has ever been migrated.</summary>
    public const string SchemaTable = """
        -- ServerSql.SchemaTable
        SELECT to_regclass('schemaversion') IS NOT NULL
        """;

    /// <summary>Only if <see cref="SchemaTable"/> returns true.</summary>
    public const string SchemaVersion = """
        -- ServerSql.SchemaVersion
        SELECT version FROM schemaversion
        """;

    /// <summary>
    /// Each statement is planned once per connection, for any value of its parameters: planning one again takes longer
    /// than running it, and so does compiling it. Such a plan cannot know how many rows an account has: with bitmaps it
    /// would read them all to sort them, where an index has them in order already. What is read is in memory, or on a
    /// disk without arms. A test looks at all these plans.
    /// </summary>
    public const string Planning = """
        -- ServerSql.Planning
        SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_bitmapscan = off; SET random_page_cost = 1.1
        """;
}
