using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db</c>: the database itself. Each verb stands in a file of its own; none of them migrates unless it is asked to.</summary>
static class DbVerb
{
    public static Command Make() => new("db", """
        The database: its schema, and what happened to it. None of these changes the schema unless it says so.

        Examples:
          capsul db status                 which scripts ran, and which are to run
          capsul db migrate --dry-run      what an upgrade would do
          capsul db verify                 is the schema what the scripts make?
        """)
    {
        DbStatus.Make(), DbMigrate.Make(), DbVerify.Make(), DbLint.Make(), DbBaseline.Make(), DbRepair.Make(),
    };
}
