namespace Capsul.Hub.Database;

static class PoolerSql
{
    public const string ServerPid = """
        -- PoolerSql.ServerPid
        SELECT pg_backend_pid()
        """;
}
