using Capsul.Foundation;
using Dapper;
using Npgsql;

namespace Capsul.Postgres.Logs;

/// <summary>One file of the server's log.</summary>
public sealed record LogFile(string Name, long Bytes, DateTime Modified);

/// <summary>The database server's log files, local or remote.</summary>
public interface ILogFiles
{
    /// <summary>Time zone of the log lines.</summary>
    TimeZoneInfo Zone { get; }

    /// <summary>Oldest first.</summary>
    Task<IReadOnlyList<LogFile>> ListAsync(CancellationToken cancel);

    /// <summary>At most <paramref name="count"/> bytes from <paramref name="offset"/>; empty at the end.</summary>
    Task<byte[]> ReadAsync(LogFile file, long offset, int count, CancellationToken cancel);
}

/// <summary>Those of the private cluster, in the data folder, even when the server is not running.</summary>
public sealed class LocalLogFiles(string folder) : ILogFiles
{
    public static LocalLogFiles Of(Settings settings) => new(Path.Combine(settings.Data, "postgres", "log"));

    public TimeZoneInfo Zone => TimeZoneInfo.Utc;

    public Task<IReadOnlyList<LogFile>> ListAsync(CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<LogFile>>(!Directory.Exists(folder) ? [] :
        [.. from file in new DirectoryInfo(folder)
            .EnumerateFiles("postgresql-*.log") orderby file.Name select new LogFile(file.Name,
            file.Length, file.LastWriteTimeUtc)]);

    public async Task<byte[]> ReadAsync(LogFile file, long offset, int count, CancellationToken cancel)
    {
        await using var stream = new FileStream(Path.Combine(folder, file.Name),
            FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        stream.Position = offset;
        var buffer = new byte[count];
        return buffer[..await stream.ReadAtLeastAsync(buffer, count, throwOnEndOfStream: false, cancel)];
    }
}

/// <summary>Those of an external server, read through its own functions, which need special privileges.</summary>
public sealed class RemoteLogFiles : ILogFiles, IAsyncDisposable
{
    readonly NpgsqlConnection connection;
    readonly string folder;

    RemoteLogFiles(NpgsqlConnection connection, string folder, TimeZoneInfo zone) =>
        (this.connection, this.folder, Zone) = (connection, folder, zone);

    /// <summary>Whether the server logs slow statements.</summary>
    public bool NotesSlow { get; private init; }

    public TimeZoneInfo Zone { get; }

    /// <exception cref="ProblemException">Forbidden or Unavailable, with what to run where, and as whom.</exception>
    public static async Task<RemoteLogFiles> OpenAsync(Db db, CancellationToken cancel)
    {
        var connection = await db.OpenAloneAsync("capsul logs", cancel);
        try
        {
            var where = await connection.QuerySingleAsync<LogPlaceRow>(
                new CommandDefinition(ServerLogSql.Where, cancellationToken: cancel));
            if (!where.Collects)
                throw new ProblemException(ProblemKind.Unavailable,
                    $"The server at {db.Address.Shown} writes no log file that can be read through it "
                        + "(logging_collector is off, or it logs to syslog). On that machine, as root: journalctl -u "
                        + "postgresql, or tail /var/log/postgresql/*.log");
            var files = new RemoteLogFiles(connection, where.Folder,
                TimeZoneInfo.FindSystemTimeZoneById(where.TimeZone))
            { NotesSlow = where.SlowAfter != "-1" };
            // Both rights are checked now, so that the error comes before the first line.
            foreach (var newest in (await files.ListAsync(cancel)).TakeLast(1))
                await files.ReadAsync(newest, 0, 1, cancel);
            return files;
        }
        catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.InsufficientPrivilege)
        {
            var user = new NpgsqlConnectionStringBuilder(db.Address.ConnectionString).Username;
            await connection.DisposeAsync();
            throw new ProblemException(ProblemKind.Forbidden,
                $"User {user} may not read the log of the server at {db.Address.Shown}. On that machine, as root: "
                    + "tail -f /var/log/postgresql/*.log; or ask an administrator to run, as postgres: GRANT "
                    + $"pg_monitor, pg_read_server_files TO \"{user}\"; GRANT EXECUTE ON FUNCTION "
                    + $"pg_read_binary_file(text, bigint, bigint) TO \"{user}\";",
                null, error);
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    public async Task<IReadOnlyList<LogFile>> ListAsync(CancellationToken cancel) =>
        [.. (await connection.QueryAsync<LogFileRow>(
            new CommandDefinition(ServerLogSql.Files, cancellationToken: cancel)))
            .Select(f => new LogFile(f.Name, f.Bytes, f.Modified))];

    public async Task<byte[]> ReadAsync(LogFile file, long offset, int count, CancellationToken cancel) =>
        await connection.ExecuteScalarAsync<byte[]>(new CommandDefinition(ServerLogSql.Read,
            new { file = Path.Combine(folder, file.Name), offset, count = (long)count }, cancellationToken: cancel))
                ?? [];

    public ValueTask DisposeAsync() => connection.DisposeAsync();
}
