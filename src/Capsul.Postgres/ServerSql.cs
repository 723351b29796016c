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

    public const string NoCompiling = """
        -- ServerSql.NoCompiling
        SET jit = off
        """;
}
