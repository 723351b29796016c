namespace Capsul.Postgres.Migrations;

/// <summary>Statements whose names cannot be parameters. The names are quoted, or come quoted from a script.</summary>
static class ScratchSql
{
    public static string CreateDatabase(string name) =>
        $"""CREATE DATABASE "{name.Replace("\"", "\"\"", StringComparison.Ordinal)}" TEMPLATE template0""";

    public static string DropDatabase(string name) =>
        $"""DROP DATABASE IF EXISTS "{name.Replace("\"", "\"\"", StringComparison.Ordinal)}" WITH (FORCE)""";

    /// <param name="index">As written in a script, including quotes.</param>
    public static string DropIndex(string index) => $"DROP INDEX CONCURRENTLY IF EXISTS {index}";
}
