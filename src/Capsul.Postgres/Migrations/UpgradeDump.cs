using Capsul.Foundation;
using Capsul.Postgres.Backups;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>
/// The dump that is taken before the schema of a database that holds data is changed. Holding data means: a table has a
/// row, other than the migrator's own tables and those that the scripts themselves fill (<c>INSERT INTO</c> in an up
/// script). The database of a Hub that has started once contains its keys, and so holds data.
/// </summary>
static partial class UpgradeDump
{
    static readonly string[] Records = ["schemaversion", "schema_scripts", "schema_statements"];

    /// <exception cref="ProblemException">Unavailable: the dump failed; the message names the setting that disables it,
    /// if there is one.</exception>
    public static async Task TakeAsync(
        Settings settings, Db db, NpgsqlConnection connection, MigrationScripts scripts,
        int from, int to, ILogger log, TimeProvider time, CancellationToken cancel)
    {
        // A downgrade loses data by its nature, so its dump cannot be disabled.
        var optional = to > from;
        if (from == 0 || optional && !settings.DumpBeforeUpgrade
            || await HoldsDataAsync(connection, scripts, from, cancel) is not { } table) return;
        var way = to > from ? "upgrade" : "downgrade";
        var file = Path.Combine(settings.BackupFolder,
            $"capsul-before-{way}-{from}-to-{to}-{time.GetUtcNow():yyyy-MM-dd-HHmmss}.gz");
        Log.Dumping(log, file, table);
        try
        {
            var bytes = await Dump.WritePlainAsync(settings.PostgresBin, db.Address, file, cancel);
            Log.Dumped(log, file, bytes);
        }
        catch (ProblemException error)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The dump before the change from schema version {from} to {to} failed, so nothing was changed: "
                + $"{error.Problem.Message.TrimEnd('.')}."
                + $"{(optional ? " CAPSUL_DUMP_BEFORE_UPGRADE=off continues without one." : "")}",
                error.ToString(), error);
        }
    }

    /// <summary>A table that holds data, or null.</summary>
    static Task<string?> HoldsDataAsync(
        NpgsqlConnection connection, MigrationScripts scripts, int version, CancellationToken cancel)
    {
        var filled = scripts.All.Where(s => s.Up && s.Version <= version).SelectMany(s => s.Statements)
            .Select(s => s.Words(3)).Where(w => w is ["INSERT", "INTO", _]).Select(w => w[2].ToLowerInvariant());
        return connection.ExecuteScalarAsync<string?>(new CommandDefinition(MigratorSql.TableWithRows,
            new { except = Records.Concat(filled).ToArray() }, cancellationToken: cancel));
    }

    static partial class Log
    {
        [LoggerMessage(116, LogLevel.Information,
            "Dumping the database to {File} before its schema is changed (it holds data: {Table})")]
        public static partial void Dumping(ILogger log, string file, string table);

        [LoggerMessage(117, LogLevel.Information, "The dump {File} is complete: {Bytes} bytes")]
        public static partial void Dumped(ILogger log, string file, long bytes);
    }
}
