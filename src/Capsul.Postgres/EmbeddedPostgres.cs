using System.Globalization;
using Capsul.Foundation;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Postgres;

/// <summary>
/// A private PostgreSQL cluster in the data folder: found among the system's binaries, reachable over a Unix socket
/// only, run as an unprivileged user even when Capsul is root. It is a separate daemon: if the Hub crashes it keeps
/// running, and the next start finds it. The last process that uses it stops it. fsync is on unless
/// <c>CAPSUL_POSTGRES_FSYNC</c> turns it off. Its log files are in <c>postgres/log</c>, one per day.
/// </summary>
public sealed partial class EmbeddedPostgres
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);
    /// <summary>sun_path has 108 bytes, and the socket's file name takes 15 of them.</summary>
    const int MaxSocketFolder = 90;

    readonly string bin;
    readonly string folder;
    readonly string hubUser;
    readonly bool fsync;
    readonly IReadOnlyList<string> more;
    readonly ClusterUse use;
    readonly ILogger log;

    /// <summary>Owner of the cluster; null if it is this process's own user. Looked up when it is needed.</summary>
    SystemUser? user;

    EmbeddedPostgres(Settings settings, ILogger log, IReadOnlyList<string> more)
    {
        (bin, folder) = (FindBinaries(settings.PostgresBin), Path.Combine(settings.Data, "postgres"));
        (hubUser, fsync) = (settings.HubUser, settings.PostgresFsync);
        (this.more, this.log, use) = (more, log, new ClusterUse(folder));
    }

    string Cluster => Path.Combine(folder, "data");
    string LogFolder => Path.Combine(folder, "log");
    string PasswordFile => Path.Combine(folder, "password");
    string SocketFolder => folder.Length <= MaxSocketFolder ? folder
        : Path.Combine("/tmp", "capsul-" + DataFolder.ShortName(folder));

    /// <summary>
    /// Creates the cluster if there is none, starts it if it is not running, and returns a connection string.
    /// </summary>
    /// <exception cref="ProblemException">With one sentence that says what is wrong.</exception>
    /// <param name="settings">Where the data folder is.</param>
    /// <param name="log">Receives progress.</param>
    /// <param name="cancel">Gives up.</param>
    /// <param name="more">Further lines for the server's configuration.</param>
    public static async Task<(EmbeddedPostgres Server, string ConnectionString)> StartAsync(
        Settings settings, ILogger log, CancellationToken cancel, IReadOnlyList<string>? more = null)
    {
        var server = new EmbeddedPostgres(settings, log, more ?? []);
        var there = Directory.Exists(server.Cluster);
        if (!there) await server.PrepareFoldersAsync(cancel);
        using (await server.use.LockAsync(cancel))
        {
            if (!server.IsComplete())
            {
                if (there) await server.PrepareFoldersAsync(cancel);
                await server.MakeAndStartAsync(cancel);
            }
            server.use.Join();
        }
        try
        {
            return (server, await server.ConnectionStringAsync(cancel));
        }
        catch
        {
            await server.StopAsync(CancellationToken.None);
            throw;
        }
    }

    /// <summary>
    /// The cluster runs and is complete: a fast path without further checks, to keep the command line fast.
    /// </summary>
    bool IsComplete() => File.Exists(PasswordFile) && IsReady();

    async Task MakeAndStartAsync(CancellationToken cancel)
    {
        await FindUserAsync(cancel);
        if (!File.Exists(Path.Combine(Cluster, "PG_VERSION")))
            await InitialiseAsync(cancel);
        CheckVersion();
        await WriteSettingsAsync(cancel);
        var started = await StartIfDownAsync(cancel);
        // Processes using a running cluster of an older program may continue; the next start finds it unused.
        if (started && !File.Exists(AdministratorFile)) await DemoteAsync(cancel);
        if (File.Exists(AdministratorFile)) await EnsureRolesAsync(cancel);
    }

    /// <summary>
    /// Stops the cluster of a data folder immediately, without a checkpoint, and deletes it. Does nothing if there is
    /// none.
    /// </summary>
    public static async Task DiscardAsync(Settings settings, CancellationToken cancel)
    {
        var server = new EmbeddedPostgres(settings, NullLogger.Instance, []);
        if (!Directory.Exists(server.folder)) return;
        await server.FindUserAsync(cancel);
        if (Directory.Exists(server.Cluster))
            await server.PgCtl("stop", "-m", "immediate", "-w", "-t", "30").TryRunAsync(cancel);
        Directory.Delete(server.folder, recursive: true);
        if (server.SocketFolder != server.folder && Directory.Exists(server.SocketFolder))
            Directory.Delete(server.SocketFolder, recursive: true);
    }

    /// <summary>
    /// Stops the cluster if another user runs it, because it will belong to this one from now on. Does nothing if there
    /// is none.
    /// </summary>
    /// <exception cref="ProblemException">Conflict: another command is using it.</exception>
    public static async Task StopForeignAsync(Settings settings, SystemUser user, CancellationToken cancel)
    {
        var server = new EmbeddedPostgres(settings, NullLogger.Instance, []);
        if (!Directory.Exists(server.Cluster)) return;
        await server.FindUserAsync(cancel);
        if (server.user is null || server.user.Id == user.Id) return;
        await server.StopAsync(cancel);
        if (await server.IsRunningAsync(cancel))
            throw new ProblemException(ProblemKind.Conflict,
                $"The database in {server.folder} is in use by another capsul command; wait until it has finished.");
        if (server.SocketFolder != server.folder && Directory.Exists(server.SocketFolder))
            Directory.Delete(server.SocketFolder, recursive: true);
    }

    /// <summary>
    /// Restarts it when it exits (killed, out of memory), until canceled. Committed data is preserved.
    /// </summary>
    public async Task KeepRunningAsync(CancellationToken cancel)
    {
        while (true)
        {
            await Task.Delay(LookEvery, cancel);
            if (IsAlive()) continue;
            Log.Died(log);
            try
            {
                await EnsureRunningAsync(cancel);
            }
            catch (ProblemException error)
            {
                Log.NotBack(log, error.Problem.Message);
            }
        }
    }

    /// <summary>Checks the process ID that PostgreSQL stores in its folder (first line of postmaster.pid).</summary>
    bool IsAlive()
    {
        try
        {
            return File.ReadLines(Path.Combine(Cluster, "postmaster.pid"))
                .FirstOrDefault() is { } pid && Directory.Exists($"/proc/{pid.Trim()}");
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return false;
        }
    }

    /// <summary>
    /// The eighth line of that file says so (pidfile.h), and the process is PostgreSQL, not another that reuses its
    /// PID.
    /// </summary>
    bool IsReady()
    {
        try
        {
            var lines = File.ReadAllLines(Path.Combine(Cluster, "postmaster.pid"));
            return lines is [var pid, _, _, _, _, _, _, var status, ..] && status.Trim() == "ready"
                && File.ReadAllText($"/proc/{pid.Trim()}/cmdline").Contains(Cluster, StringComparison.Ordinal);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>
    /// Stops using the cluster, and stops it if nobody else uses it, which ends open connections. Does nothing if it is
    /// already down.
    /// </summary>
    public async Task StopAsync(CancellationToken cancel)
    {
        using var only = await use.LockAsync(cancel);
        if (!use.Leave()) return;
        await FindUserAsync(cancel);
        var result = await PgCtl("stop", "-m", "fast", "-w", "-t", "30").TryRunAsync(cancel);
        if (result.ExitCode != 0 && await IsRunningAsync(cancel))
            Log.StopFailed(log, result.LastLine);
    }

    /// <summary>The folder of the programs that create and run a cluster.</summary>
    public static string FindBinaries(string? configured) => PostgresPrograms.Folder(configured, "initdb", "postgres");

    /// <summary>
    /// PostgreSQL refuses to run as root: an existing cluster runs as its owner, a new one as the Hub's user.
    /// </summary>
    async Task FindUserAsync(CancellationToken cancel)
    {
        if (user is not null || !Environment.IsPrivilegedProcess) return;
        var owner = Directory.Exists(folder) ? (await SystemUser.OwnersAsync([folder], cancel))[0] : 0;
        user = owner == 0 ? SystemUser.Find(hubUser is "root" ? "postgres" : hubUser, "postgres", "nobody")
            : SystemUser.Find(owner);
    }

    async Task PrepareFoldersAsync(CancellationToken cancel)
    {
        await FindUserAsync(cancel);
        try
        {
            foreach (var path in (string[])[folder, LogFolder, SocketFolder])
                Directory.CreateDirectory(path);
        }
        catch (Exception error) when (error is UnauthorizedAccessException or IOException)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The data folder {folder} cannot be written: {error.Message}", null, error);
        }
        if (user is not null)
        {
            foreach (var path in (string[])[folder, LogFolder, SocketFolder])
                await new Command("chown", "-h", $"{user.Name}:", path).RunAsync(cancel);
            if ((await AsUser("test", "-x", folder).TryRunAsync(cancel)).ExitCode != 0)
                throw new ProblemException(ProblemKind.Unavailable,
                    $"PostgreSQL runs as user {user.Name}, who cannot reach {folder}: a parent folder is not "
                        + "accessible to others. Choose another data folder with CAPSUL_DATA, such as "
                        + "/var/lib/capsul.");
        }
        File.SetUnixFileMode(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    async Task InitialiseAsync(CancellationToken cancel)
    {
        Log.Initialising(log, Cluster);
        // A start that was killed inside initdb leaves a folder without PG_VERSION or half filled; it contains no data.
        if (Directory.Exists(Cluster)) Directory.Delete(Cluster, recursive: true);
        await WritePasswordAsync(AdministratorFile, cancel);
        File.Delete(PasswordFile);
        var temporary = Cluster + ".new";
        if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
        var made = await (AsUser(Path.Combine(bin, "initdb"), "-D", temporary,
            "-U", ClusterSql.Administrator, "--pwfile", AdministratorFile, "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C.UTF-8", fsync ? "--data-checksums" : "--no-sync") with
        { Timeout = TimeSpan.FromMinutes(3) }).TryRunAsync(cancel);
        // Its last line only says that it cleans up.
        if (made.ExitCode != 0)
        {
            var why = made.Error.Split('\n').FirstOrDefault(l =>
                l.Contains("FATAL", StringComparison.Ordinal) || l.Contains("error:", StringComparison.Ordinal))
                ?? made.LastLine;
            throw new ProblemException(
                ProblemKind.Unavailable, $"Could not create a PostgreSQL cluster in {folder}: {why}", made.Error);
        }
        Directory.Move(temporary, Cluster);
    }

    void CheckVersion()
    {
        var has = File.ReadAllText(Path.Combine(Cluster, "PG_VERSION")).Trim();
        var runs = Path.GetFileName(Path.GetDirectoryName(bin)!);
        if (int.TryParse(runs, CultureInfo.InvariantCulture, out _) && runs != has)
            throw new ProblemException(ProblemKind.Unavailable,
                $"The database in {Cluster} was created by PostgreSQL {has}, but {bin} is version {runs}. Install "
                    + $"postgresql-{has}, or upgrade the cluster with pg_upgradecluster or a dump.");
    }

    async Task WriteSettingsAsync(CancellationToken cancel)
    {
        var lines = $"""
            # Written by Capsul at each start.
            listen_addresses = ''
            unix_socket_directories = '{SocketFolder}'
            unix_socket_permissions = 0700
            fsync = {(fsync ? "on" : "off")}
            synchronous_commit = {(fsync ? "on" : "off")}
            full_page_writes = {(fsync ? "on" : "off")}
            timezone = 'UTC'
            log_timezone = 'UTC'
            logging_collector = on
            log_directory = '{LogFolder}'
            log_filename = 'postgresql-%Y-%m-%d.log'
            log_line_prefix = '%m [%p] %q%u@%d %a '
            log_min_duration_statement = 250ms
            log_lock_waits = on
            # Values of statements may be secrets, such as what a sign-in link is known by.
            log_parameter_max_length = 0
            log_parameter_max_length_on_error = 0
            max_connections = 200
            {string.Join('\n', more)}

            """;
        var file = Path.Combine(Cluster, "capsul.conf");
        // As the cluster's user: root must not write where that user may have put a link.
        await (AsUser("tee", file) with { Input = lines }).RunAsync(cancel);
        var main = Path.Combine(Cluster, "postgresql.conf");
        const string include = "include 'capsul.conf'";
        if ((await AsUser("grep", "-qF", include, main).TryRunAsync(cancel)).ExitCode != 0)
            await (AsUser("tee", "-a", main) with { Input = $"\n{include}\n" }).RunAsync(cancel);
    }

    async Task EnsureRunningAsync(CancellationToken cancel)
    {
        using var only = await use.LockAsync(cancel);
        await StartIfDownAsync(cancel);
    }

    /// <summary>True if it was down.</summary>
    async Task<bool> StartIfDownAsync(CancellationToken cancel)
    {
        if (await IsRunningAsync(cancel)) return false;
        var started = await PgCtl("start", "-w", "-t", "60", "-l", Path.Combine(LogFolder, "start.log"))
            .TryRunAsync(cancel);
        if (started.ExitCode == 0) return true;
        var tail = File.Exists(Path.Combine(LogFolder, "start.log"))
            ? (await File.ReadAllLinesAsync(Path.Combine(LogFolder, "start.log"), cancel))
                .LastOrDefault(l => l.Contains("FATAL", StringComparison.Ordinal)) : null;
        throw new ProblemException(ProblemKind.Unavailable,
            $"PostgreSQL did not start: {tail ?? started.LastLine} Its log is in {LogFolder}.");
    }

    async Task<bool> IsRunningAsync(CancellationToken cancel) =>
        (await PgCtl("status").TryRunAsync(cancel)).ExitCode == 0;

    Command PgCtl(string verb, params string[] arguments) =>
        AsUser(Path.Combine(bin, "pg_ctl"), [verb, "-D", Cluster, "-s", .. arguments])
            with
        { Timeout = TimeSpan.FromSeconds(90) };

    /// <summary>
    /// Runs as the unprivileged user, in the cluster's folder, because that user may not have access to the caller's.
    /// </summary>
    Command AsUser(string program, params string[] arguments) =>
        (user?.Run(program, arguments) ?? new Command(program, arguments)) with { WorkingDirectory = folder };

    static partial class Log
    {
        [LoggerMessage(100, LogLevel.Information, "Creating a PostgreSQL cluster in {Folder}")]
        public static partial void Initialising(ILogger log, string folder);

        [LoggerMessage(104, LogLevel.Information, "The private cluster's regular role is no longer a superuser")]
        public static partial void Demoted(ILogger log);

        [LoggerMessage(102, LogLevel.Error, "PostgreSQL exited unexpectedly; restarting it")]
        public static partial void Died(ILogger log);

        [LoggerMessage(103, LogLevel.Error, "PostgreSQL could not be restarted: {Why}")]
        public static partial void NotBack(ILogger log, string why);

        [LoggerMessage(101, LogLevel.Warning, "PostgreSQL did not stop: {Why}")]
        public static partial void StopFailed(ILogger log, string why);
    }
}
