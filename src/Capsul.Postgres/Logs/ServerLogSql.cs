namespace Capsul.Postgres.Logs;

static class ServerLogSql
{
    /// <summary>
    /// Whether the server writes its own files (not to syslog), and where; a relative folder is in its data folder.
    /// </summary>
    public sealed record WhereRow(bool Collects, string Folder, string TimeZone, string SlowAfter);

    public const string Where = """
        -- ServerLogSql.Where
        SELECT current_setting('logging_collector') = 'on' AS collects, current_setting('log_directory') AS folder,
            current_setting('log_timezone') AS time_zone,
            current_setting('log_min_duration_statement') AS slow_after
        """;

    public sealed record FileRow(string Name, long Bytes, DateTime Modified);

    public const string Files = """
        -- ServerLogSql.Files
        SELECT name, size AS bytes, modification AS modified FROM pg_ls_logdir() WHERE name NOT LIKE '%.csv'
            AND name NOT LIKE '%.json' ORDER BY modification, name
        """;

    public const string Read = """
        -- ServerLogSql.Read
        SELECT pg_read_binary_file(@file, @offset, @count)
        """;
}
