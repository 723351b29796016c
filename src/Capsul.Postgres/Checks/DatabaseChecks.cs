using System.Globalization;
using Capsul.Foundation;
using Capsul.Postgres.Backups;
using Capsul.Postgres.Migrations;
using Npgsql;

namespace Capsul.Postgres.Checks;

/// <summary>Checks the database, one line per finding, with what to do. Changes nothing.</summary>
/// <param name="db">The database.</param>
/// <param name="time">The clock.</param>
/// <param name="alerts">Further findings of the database's owner, shown last; null: none.</param>
public sealed class DatabaseChecks(
    Db db, TimeProvider time, Func<Db, CancellationToken, Task<IReadOnlyList<Finding>>>? alerts = null)
{
    /// <summary>A verified backup older than this is reported.</summary>
    static readonly TimeSpan BackupAge = TimeSpan.FromDays(2);

    /// <summary>
    /// PostgreSQL stops at about two billion (documentation, "Preventing Transaction ID Wraparound Failures").
    /// </summary>
    const long WraparoundWarning = 1_000_000_000;

    /// <summary>Replication lag from which a replica is reported.</summary>
    const long LagBytes = 64 << 20;

    /// <summary>All findings; a single failure if the database cannot be reached.</summary>
    public async Task<IReadOnlyList<Finding>> RunAsync(CancellationToken cancel)
    {
        try
        {
            var server = (await db.FindAsync<ServerRow>(CheckSql.Server, null, cancel))!;
            if (Migrator.TooOld(await db.AskAsync<int>(ServerSql.ServerVersion, null, cancel)) is { } problem)
                return [new(Verdict.Fail, "database", problem.Message)];
            return
            [
                new(Verdict.Ok, "database", $"PostgreSQL {server.Version} at {db.Address.Shown}, {Size(server.Bytes)}"),
                await PoolerAsync(cancel),
                await SchemaAsync(cancel),
                .. Settings(server),
                .. await BackupsAsync(cancel),
                .. await LeftoversAsync(cancel),
                .. await BloatAsync(cancel),
                Wraparound(server),
                .. await LongTransactionsAsync(cancel),
                .. await ReplicasAsync(cancel),
                .. alerts is null ? [] : await alerts(db, cancel),
            ];
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            return [new(Verdict.Fail, "database", db.Explain(error).Message)];
        }
    }

    async Task<Finding> PoolerAsync(CancellationToken cancel) => await Pooler.FindAsync(db, cancel) is { } problem
        ? new(Verdict.Fail, "sessions", problem.Message)
        : new(Verdict.Ok, "sessions", "session locks and notifications work");

    async Task<Finding> SchemaAsync(CancellationToken cancel)
    {
        if (!await db.AskAsync<bool>(ServerSql.SchemaTable, null, cancel))
            return new(Verdict.Warn, "schema", "the database is empty; the first capsul up creates the schema");
        var version = await db.AskAsync<int>(ServerSql.SchemaVersion, null, cancel);
        return version == Migrator.DesiredVersion ? new(Verdict.Ok, "schema", $"version {version}")
            : version < Migrator.DesiredVersion
                ? new(Verdict.Warn, "schema",
                $"version {version}; this program upgrades it to {Migrator.DesiredVersion} when the Hub next starts "
                + "(capsul db migrate --dry-run shows how)")
            : new(Verdict.Fail, "schema",
                $"version {version}, newer than this program, which knows up to {Migrator.DesiredVersion}: use the "
                + "newer program");
    }

    static IEnumerable<Finding> Settings(ServerRow server)
    {
        yield return server is { Fsync: "on", FullPageWrites: "on" }
            ? new(Verdict.Ok, "durability", "fsync and full_page_writes are on")
            : new(Verdict.Fail, "durability",
                "fsync or full_page_writes is off: a power failure can lose the whole database. Set both to on "
                + "(private "
                + "cluster: CAPSUL_POSTGRES_FSYNC=on)");
        yield return server.SynchronousCommit != "off"
            ? new(Verdict.Ok, "commits", $"synchronous_commit is {server.SynchronousCommit}")
            : new(Verdict.Fail, "commits",
                "synchronous_commit is off: a crash can lose payments that were already acknowledged. Set it to on");
        var room = server.MaxConnections - server.Reserved - server.Connections;
        yield return room >= Db.MaxConnections
            ? new(Verdict.Ok, "connections", $"{server.Connections} of {server.MaxConnections} in use")
            : new(Verdict.Warn, "connections",
                $"{server.Connections} of {server.MaxConnections} in use; a Hub needs up to {Db.MaxConnections}: "
                + "raise max_connections, or see who uses them in pg_stat_activity");
        yield return server.TimeZone is "UTC" or "Etc/UTC" or "GMT" ? new(Verdict.Ok, "time zone", "UTC")
            : new(Verdict.Warn, "time zone",
                $"{server.TimeZone}; Capsul always uses UTC, but the server's log does not: set timezone "
                + "and log_timezone to UTC");
        yield return server.Encoding == "UTF8" ? new(Verdict.Ok, "encoding", "UTF8")
            : new(Verdict.Warn, "encoding",
            $"{server.Encoding}; recreate the database with encoding UTF8, and restore a backup into it");
        if (server.InRecovery)
            yield return new(Verdict.Fail, "role",
            "this server is a standby and accepts no writes: point CAPSUL_DATABASE at the primary, or list all hosts");
    }

    async Task<IReadOnlyList<Finding>> BackupsAsync(CancellationToken cancel)
    {
        if (!await db.AskAsync<bool>(BackupSql.CanRemember, null, cancel))
            return [new(Verdict.Warn, "backup", "this schema version does not record backups")];
        var last = await LastBackupAsync(cancel);
        return (await db.ListAsync<BackupRow>(BackupSql.Endless, null, cancel))
            .FirstOrDefault() is not { } endless ? [last] : [last, new(Verdict.Warn, "backup",
            $"{endless.File}, started {endless.Started:yyyy-MM-ddTHH:mm:ssZ}, never finished: it is still running "
            + "or was killed; "
                + "the next backup cleans up after it")];
    }

    async Task<Finding> LastBackupAsync(CancellationToken cancel)
    {
        const string what = "backup";
        if (await db.FindAsync<BackupRow>(BackupSql.LastVerified, null, cancel) is not { Proved: { } proved } last)
            return new(Verdict.Warn, what,
                "no backup taken yet: the Hub takes one on CAPSUL_BACKUP_SCHEDULE; capsul db backup takes one now");
        var age = time.GetUtcNow().UtcDateTime - proved;
        var says = $"{last.File}, {Size(last.Bytes ?? 0)}, verified {proved:yyyy-MM-ddTHH:mm:ssZ} ({last.Proof})";
        if (!File.Exists(last.File))
            return new(Verdict.Warn, what,
            $"{says}: that file is not on this machine; check the machine whose Hub took it, or take a new one: capsul "
            + "db backup");
        return age > BackupAge
            ? new(Verdict.Warn, what, $"{says}: that is {age.TotalDays:0} days ago; capsul db backup takes a new one")
            : new(Verdict.Ok, what, says);
    }

    async Task<IEnumerable<Finding>> LeftoversAsync(CancellationToken cancel) =>
        (await db.ListAsync<string>(CheckSql.Leftovers, new { scratch = ScratchDatabase.NamePrefix }, cancel))
            .Select(name => new Finding(Verdict.Warn, "leftover",
            $"database {name} was left by a backup or restore that was killed, and is no longer needed: "
                + $"{DropCommand(name)}"));

    /// <summary>As typed into a shell.</summary>
    public static string DropCommand(string database)
    {
        var sql = $"DROP DATABASE \"{database.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
        return $"capsul sql -c '{sql.Replace("'", "'\\''", StringComparison.Ordinal)}'";
    }

    async Task<IEnumerable<Finding>> BloatAsync(CancellationToken cancel)
    {
        var tables = await db.ListAsync<BloatRow>(CheckSql.Bloat, null, cancel);
        return tables.Count == 0 ? [new(Verdict.Ok, "bloat", "no table has many dead rows")]
            : tables.Select(t => new Finding(Verdict.Warn, "bloat",
                $"{t.Table}: {t.Dead} dead rows beside {t.Live}, last vacuumed {Time(t.Vacuumed)}; "
                + $"run: capsul sql -c 'VACUUM {t.Table}'"));

        static string Time(DateTime? at) =>
            at?.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture) ?? "never";
    }

    static Finding Wraparound(ServerRow server) => server.OldestTransaction < WraparoundWarning
        ? new(Verdict.Ok, "wraparound", $"oldest transaction id is {server.OldestTransaction} back")
        : new(Verdict.Fail, "wraparound",
            $"oldest transaction id is {server.OldestTransaction} back, and the server stops near 2,000,000,000: end "
            + "long transactions and run vacuumdb --all --freeze");

    async Task<IEnumerable<Finding>> LongTransactionsAsync(CancellationToken cancel)
    {
        var open = await db.ListAsync<LongTransactionRow>(CheckSql.LongTransactions, null, cancel);
        return open.Count == 0 ? [new(Verdict.Ok, "transactions", "none is open for more than 5 minutes")]
            : open.Select(t => new Finding(Verdict.Warn, "transactions",
                $"{t.Application} (pid {t.Pid}, user {t.User}) has one open for "
                    + $"{TimeSpan.FromSeconds(t.Seconds):d\\.hh\\:mm\\:ss}, {t.State}: {t.Query}; end it with: capsul "
                    + $"sql -c 'SELECT pg_terminate_backend({t.Pid})'"));
    }

    async Task<IEnumerable<Finding>> ReplicasAsync(CancellationToken cancel)
    {
        var replicas = await db.ListAsync<ReplicaRow>(CheckSql.Replicas, null, cancel);
        return replicas.Select(r => r.LagBytes is { } lag && lag > LagBytes
            ? new Finding(Verdict.Warn, "replica",
                $"{r.Name} is {Size(lag)} behind ({r.State}, {r.SyncState}): check its log and its disk")
            : new Finding(Verdict.Ok, "replica",
                $"{r.Name}, {r.State}, {r.SyncState}{(r.LagBytes is { } bytes ? $", {Size(bytes)} behind" : "")}"));
    }

    /// <summary>Bytes for people.</summary>
    public static string Size(long bytes) => bytes switch
    {
        < 1 << 10 => $"{bytes} B",
        < 1 << 20 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1024.0:0.#} KiB"),
        < 1 << 30 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:0.#} MiB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1073741824.0:0.#} GiB"),
    };
}
