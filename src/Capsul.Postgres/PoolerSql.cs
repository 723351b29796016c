namespace Capsul.Postgres;

static class PoolerSql
{
    public const string ServerPid = """
        -- PoolerSql.ServerPid
        SELECT pg_backend_pid()
        """;
}
