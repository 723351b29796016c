namespace Capsul.Foundation;

/// <summary>A user of this machine, from <c>/etc/passwd</c> (passwd(5)).</summary>
public sealed record SystemUser(string Name, int Id, int Group)
{
    /// <summary>The first of these that exists; null if none does.</summary>
    public static SystemUser? Find(params ReadOnlySpan<string> names)
    {
        var all = File.ReadLines("/etc/passwd").Select(line => line.Split(':')).Where(fields => fields.Length > 3)
            .Select(fields => new SystemUser(fields[0], int.Parse(fields[2]), int.Parse(fields[3]))).ToList();
        foreach (var name in names)
        {
            if (all.Find(user => user.Name == name) is { } found) return found;
        }
        return null;
    }

    /// <summary>Names of the owners of files and folders, in the same order.</summary>
    /// <exception cref="ProblemException">Unavailable: one of them does not exist.</exception>
    public static async Task<IReadOnlyList<string>> OwnersAsync(IEnumerable<string> paths, CancellationToken cancel) =>
        (await new Command("stat", ["--format=%U", "--", .. paths]).RunAsync(cancel)).Output
            .Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Runs a program as this user, with only its primary group. Needs root.</summary>
    public Command Run(string program, params IEnumerable<string> arguments) =>
        new("setpriv", ["--reuid", Name, "--regid", Group.ToString(), "--clear-groups", "--", program, .. arguments]);
}
