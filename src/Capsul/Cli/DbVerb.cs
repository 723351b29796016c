using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db</c>: the database itself. Each verb stands in a file of its own; none of them migrates unless it is asked to.</summary>
static class DbVerb
{
    public static Command Make() => new("db", """
        The database: its schema, its backups, and what happened to it. None of these changes the schema unless it says so.

        Examples:
          capsul db status                 which scripts ran, and which are to run
          capsul db migrate --dry-run      what an upgrade would do
          capsul db backup                 one file, proved by restoring it
          capsul db restore FILE           ... put back
          capsul db logs --since 1h        the database server's own log
        """)
    {
        DbStatus.Make(), DbMigrate.Make(), DbVerify.Make(), DbLint.Make(), DbBaseline.Make(), DbRepair.Make(),
        DbBackup.Make(), DbRestore.Make(), DbLogs.Make(),
    };
}
