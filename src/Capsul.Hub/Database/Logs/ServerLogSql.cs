namespace Capsul.Hub.Database.Logs;

static class ServerLogSql
{
    /// <summary>Where the server writes and how; the file is null when it does not write one that can be read (stderr, syslog).</summary>
    public sealed record WhereRow(string? Current, string TimeZone, string SlowAfter);

    public const string Where = """
        -- ServerLogSql.Where
        SELECT pg_current_logfile('stderr') AS current, current_setting('log_timezone') AS time_zone, current_setting('log_min_duration_statement') AS slow_after
        """;

    public sealed record FileRow(string Name, long Bytes, DateTime Modified);

    public const string Files = """
        -- ServerLogSql.Files
        SELECT name, size AS bytes, modification AS modified FROM pg_ls_logdir() WHERE name NOT LIKE '%.csv' AND name NOT LIKE '%.json' ORDER BY modification, name
        """;

    public const string Read = """
        -- ServerLogSql.Read
        SELECT pg_read_binary_file(@file, @offset, @count)
        """;
}
