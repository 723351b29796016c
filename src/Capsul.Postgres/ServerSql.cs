namespace Capsul.Postgres;

/// <summary>What every part wants to know of a database before it works with it.</summary>
public static class ServerSql
{
    /// <summary>Such as 150018 for 15.18.</summary>
    public const string ServerVersion = """
        -- ServerSql.ServerVersion
        SELECT current_setting('server_version_num')::integer
        """;

    /// <summary>Whether it has ever been migrated.</summary>
    public const string SchemaTable = """
        -- ServerSql.SchemaTable
        SELECT to_regclass('schemaversion') IS NOT NULL
        """;

    /// <summary>Only where <see cref="SchemaTable"/> says yes.</summary>
    public const string SchemaVersion = """
        -- ServerSql.SchemaVersion
        SELECT version FROM schemaversion
        """;
}
