namespace Capsul.Foundation;

/// <summary>A user of this machine, from <c>/etc/passwd</c> (passwd(5)).</summary>
public sealed record SystemUser(string Name, int Id, int Group)
{
    /// <summary>The first of these that exists; null if none does.</summary>
    public static SystemUser? Find(params ReadOnlySpan<string> names)
    {
        var all = All();
        foreach (var name in names)
        {
            if (all.Find(user => user.Name == name) is { } found) return found;
        }
        return null;
    }

    public static SystemUser? Find(int id) => All().Find(user => user.Id == id);

    static List<SystemUser> All() =>
    [
        .. File.ReadLines("/etc/passwd").Select(line => line.Split(':')).Where(fields => fields.Length > 3)
            .Select(fields => new SystemUser(fields[0], int.Parse(fields[2]), int.Parse(fields[3]))),
    ];

    /// <summary>
    /// User IDs of the owners of files and folders, in the same order; of a link, of what it leads to.
    /// </summary>
    /// <exception cref="ProblemException">Unavailable: one of them does not exist.</exception>
    public static async Task<IReadOnlyList<int>> OwnersAsync(IEnumerable<string> paths, CancellationToken cancel) =>
    [
        .. (await new Command("stat", ["--dereference", "--format=%u", "--", .. paths]).RunAsync(cancel)).Output
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse),
    ];

    /// <summary>A program as this user, in its group alone, with nothing of root's environment. Needs root.</summary>
    public Command Run(string program, params IEnumerable<string> arguments) =>
        new("setpriv", ["--reuid", Id.ToString(), "--regid", Group.ToString(), "--clear-groups", "--",
            program, .. arguments])
        { Environment = CleanEnvironment() };

    /// <summary>
    /// Takes from this process's environment what another user's process has no business with, such as root's
    /// credentials and agents.
    /// </summary>
    public static Dictionary<string, string?> CleanEnvironment() =>
        Environment.GetEnvironmentVariables().Keys.Cast<string>().Where(name => !IsHarmless(name))
            .ToDictionary(name => name, _ => (string?)null, StringComparer.Ordinal);

    static bool IsHarmless(string name) =>
        name is "PATH" or "LANG" or "LANGUAGE" or "TZ" or "TERM" or "NO_COLOR"
        || name.StartsWith("LC_", StringComparison.Ordinal) || name.StartsWith("DOTNET_", StringComparison.Ordinal)
        || name.EndsWith("_proxy", StringComparison.OrdinalIgnoreCase);
}
