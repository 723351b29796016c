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
    /// Compiling a statement takes longer than all of ours run. A plan for any value of the parameters, which a prepared
    /// statement gets after a while, cannot know how many rows an account has: with bitmaps it reads them all to sort
    /// them, where an index has them in order already. And what pages read is in memory, or on a disk without arms.
    /// </summary>
    public const string Planning = """
        -- ServerSql.Planning
        SET jit = off; SET enable_bitmapscan = off; SET random_page_cost = 1.1
        """;
}
