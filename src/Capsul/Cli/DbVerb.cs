using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary>
/// <c>capsul db</c>: the database itself. Each command is in its own file; none of them migrates unless asked to.
/// </summary>
static class DbVerb
{
    public static Command Make() => new("db", """
        Manages the database: schema, backups and logs. None of these commands changes the schema unless it says so.

        Examples:
          capsul db status                 which scripts ran, and which are pending
          capsul db migrate --dry-run      what an upgrade would do
          capsul db backup                 one file, verified by a test restore
          capsul db restore FILE           restores it
          capsul db logs --since 1h        the database server's own log
        """)
    {
        DbStatus.Make(), DbMigrate.Make(), DbVerify.Make(), DbLint.Make(), DbBaseline.Make(), DbRepair.Make(),
        DbBackup.Make(), DbRestore.Make(), DbLogs.Make(),
    };
}
