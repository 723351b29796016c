using System.Runtime.InteropServices;
using Capsul.Foundation;
using Capsul.Postgres;
using Command = Capsul.Foundation.Command;

namespace Capsul.Cli;

/// <summary>
/// If started by root, the Hub runs as its own unprivileged user: whoever breaks into the web application gets neither
/// the VMs' disks nor the machine. Its files in the data folder belong to that user; the folder itself stays root's, so
/// that the Spoke's files cannot be replaced.
/// </summary>
static partial class HubUser
{
    /// <summary>Ports below this need a capability (ip_unprivileged_port_start, ip-sysctl.txt).</summary>
    const int FirstFreePort = 1024;

    const int UserTries = 10;
    static readonly TimeSpan UserRetry = TimeSpan.FromMilliseconds(200);

    /// <summary>
    /// A checkout in root's home folder is not accessible to others: the program and the runtime are mounted where the
    /// Hub's user can read them, for this process only.
    /// </summary>
    const string WithOwnMounts = """mount --bind "$1" "$3"/app; mount --bind "$2" "$3"/dotnet; shift 3; exec "$@" """;

    /// <summary>The Hub's files and folders in the data folder.</summary>
    static readonly string[] Folders = ["postgres", "backups", "scratch", "hub"];
    static readonly string[] Files = ["hub.lock", "backup.lock", "postgres.lock", "postgres.users", "secret.key"];

    static string Runtime => Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../.."));

    /// <summary>Whether a Hub that this process starts has to run as another user.</summary>
    public static bool IsNeeded(Settings settings) => Environment.IsPrivilegedProcess && settings.HubUser != "root";

    /// <summary>
    /// Creates the user if it is missing, makes it the owner of the Hub's files, and returns the command that runs
    /// <c>capsul</c> with these arguments and settings as that user.
    /// </summary>
    /// <exception cref="ProblemException">Unavailable: the user cannot be created, or cannot use a folder.</exception>
    public static async Task<Command> PrepareAsync(
        Settings settings, IReadOnlyList<string> arguments, CancellationToken cancel)
    {
        var user = await EnsureAsync(settings.HubUser, cancel);
        await HandOverAsync(settings, user, cancel);
        await CheckFoldersAsync(settings, user, cancel);
        var environment = SystemUser.CleanEnvironment();
        foreach (var (name, value) in settings.ToEnvironment()) environment[name] = value;
        environment["HOME"] = Path.Combine(settings.Data, "hub");
        var program = Path.Combine(AppContext.BaseDirectory, "capsul");
        string[] readable = ["-x", program, "-a", "-r", $"{program}.dll", "-a", "-r", Path.Combine(Runtime, "host")];
        if (await CanAsync(user, cancel, readable))
        {
            return new Command("/usr/bin/setpriv", [.. Rights(user, settings), program, .. arguments])
            { Environment = environment };
        }
        var run = $"/run/capsul-hub/{DataFolder.ShortName(settings.Data)}";
        foreach (var folder in (string[])["/run/capsul-hub", run, $"{run}/app", $"{run}/dotnet"])
        {
            Directory.CreateDirectory(folder);
            File.SetUnixFileMode(folder, OpenFolder);
        }
        environment["DOTNET_ROOT"] = $"{run}/dotnet";
        return new Command("/usr/bin/unshare",
            ["--mount", "--", "sh", "-ec", WithOwnMounts, "sh", AppContext.BaseDirectory, Runtime, run,
                "setpriv", .. Rights(user, settings), $"{run}/app/capsul", .. arguments])
        { Environment = environment };
    }

    /// <summary>
    /// No rights, except to listen on a port that only root may have, where such a port is configured.
    /// </summary>
    static IEnumerable<string> Rights(SystemUser user, Settings settings)
    {
        var rights = settings is { Port: > 0 and < FirstFreePort } or { LinkPort: > 0 and < FirstFreePort }
            ? "-all,+net_bind_service" : "-all";
        return ["--reuid", user.Id.ToString(), "--regid", user.Group.ToString(), "--clear-groups", "--no-new-privs",
            $"--inh-caps={rights}", $"--ambient-caps={rights}", $"--bounding-set={rights}", "--"];
    }

    static async Task<SystemUser> EnsureAsync(string name, CancellationToken cancel)
    {
        if (SystemUser.Find(name) is { } user)
        {
            return user.Id != 0 ? user : throw new ProblemException(ProblemKind.Invalid,
                $"CAPSUL_HUB_USER is {name}, another name of root. Name a user without rights, or root itself.");
        }
        for (var tries = 1; ; tries++)
        {
            var made = await new Command("useradd", "--system", "--user-group", "--no-create-home",
                "--home-dir", "/var/lib/capsul/hub", "--shell", "/usr/sbin/nologin", name).TryRunAsync(cancel);
            if (SystemUser.Find(name) is { } added) return added;
            if (tries == UserTries)
                throw new ProblemException(ProblemKind.Unavailable,
                    $"The Hub's user {name} could not be created: {made.LastLine}. Create it, or name another with "
                        + "CAPSUL_HUB_USER.");
            // Another process may be adding one just now; the lock of /etc/passwd has no event to wait for.
            await Task.Delay(UserRetry, cancel);
        }
    }

    static async Task HandOverAsync(Settings settings, SystemUser user, CancellationToken cancel)
    {
        if (!settings.ExternalDatabase) await EmbeddedPostgres.StopForeignAsync(settings, user, cancel);
        var all = await MakeAsync(settings.Data);
        // Only what is not the user's yet: in folders that are, it could prepare what root then gives away. A link in
        // the data folder is root's own, to another disk.
        var owners = await SystemUser.OwnersAsync(all, cancel);
        var foreign = all.Where((_, n) => owners[n] != user.Id).ToList();
        if (foreign.Count > 0)
            await new Command("chown", ["-hRH", $"{user.Name}:{user.Group}", "--", .. foreign]).RunAsync(cancel);
    }

    /// <summary>Creates what is missing of the Hub's files and folders; returns all of them.</summary>
    static async Task<IReadOnlyList<string>> MakeAsync(string data)
    {
        try
        {
            if (!Directory.Exists(data)) Directory.CreateDirectory(data, OpenFolder);
            foreach (var folder in Folders) Directory.CreateDirectory(Path.Combine(data, folder), PrivateFolder);
            foreach (var file in Files.Select(name => Path.Combine(data, name)).Where(file => !File.Exists(file)))
                await File.Open(file, NewFile).DisposeAsync();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw DataFolder.NotWritable(data, error);
        }
        return [.. Folders.Concat(Files).Select(name => Path.Combine(data, name))];
    }

    static FileStreamOptions NewFile => new()
    {
        Mode = FileMode.Append,
        Access = FileAccess.Write,
        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
    };

    const UnixFileMode OpenFolder = PrivateFolder | UnixFileMode.GroupRead | UnixFileMode.GroupExecute
        | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    const UnixFileMode PrivateFolder = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    static async Task CheckFoldersAsync(Settings settings, SystemUser user, CancellationToken cancel)
    {
        foreach (var folder in (string[])[Path.Combine(settings.Data, "hub"), settings.BackupFolder])
        {
            if (!Directory.Exists(folder) || await CanAsync(user, cancel, "-w", folder)) continue;
            throw new ProblemException(ProblemKind.Unavailable,
                $"The Hub runs as user {user.Name}, who cannot write to {folder}: it belongs to another user, or a "
                + "parent folder is not accessible to others. Change that, or choose another folder with CAPSUL_DATA "
                + "or CAPSUL_BACKUP_FOLDER.");
        }
    }

    /// <summary>Runs test(1) as this user.</summary>
    static async Task<bool> CanAsync(SystemUser user, CancellationToken cancel, params string[] expression) =>
        (await user.Run("test", expression).TryRunAsync(cancel)).ExitCode == 0;

    /// <summary>Replaces this process with the command; the process ID stays.</summary>
    /// <exception cref="ProblemException">Unavailable: it could not be started.</exception>
    public static void Become(Command command)
    {
        var environment = Environment.GetEnvironmentVariables().Cast<System.Collections.DictionaryEntry>()
            .ToDictionary(e => (string)e.Key, e => (string?)e.Value, StringComparer.Ordinal);
        foreach (var (name, value) in command.Environment) environment[name] = value;
        string?[] variables = [.. environment.Where(e => e.Value is not null).Select(e => $"{e.Key}={e.Value}"), null];
        execve(command.Program, [command.Program, .. command.Arguments, null], variables);
        throw new ProblemException(ProblemKind.Unavailable,
            $"{command.Program} could not be started (error {Marshal.GetLastPInvokeError()}).");
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int execve(string path, string?[] arguments, string?[] environment);
}
