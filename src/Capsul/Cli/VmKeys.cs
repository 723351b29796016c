using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm keys</c>: the same decision as the page.</summary>
static class VmKeys
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Option<bool> AtNextBoot = new("--at-next-boot")
    {
        Description = "At its next start the VM takes all SSH keys of its account, in place of those that it has.",
    };

    public static Command Make() => CommandLine.Verb("keys",
        "Shows which SSH keys a VM has, and which wait for its next start. Its owner can choose among the keys on a "
        + "page, and have the agent inside change them while the VM runs.", RunAsync, Id, AtNextBoot);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var id = parsed.GetValue(Id)!;
        if (parsed.GetValue(AtNextBoot))
            (await ChangeKeysLater.RunAsync(database.Db, "cli", null, id, null, TimeProvider.System, cancel)).OrThrow();
        if (await database.Db.FindAsync<VmRow>(MoveSql.FindVm, new { id }, cancel) is not { Deleted: null })
            throw new ProblemException(VmAction.NotFound);
        var keys = await database.Db.FindAsync<KeyLinesRow>(ReinstallSql.OwnKeys, new { id }, cancel);
        Console.WriteLine($"has: {Names(keys!.KeyNames)}");
        if (await database.Db.FindAsync<KeyChangeRow>(KeyChangeSql.Newest, new { vm = id }, cancel) is { } change)
            Console.WriteLine(change.Done is { } done ? $"taken at a start: {done:u}"
                : $"waiting for the next start since {change.Asked:u}: {Names(change.KeyNames)}");
        return 0;
    }

    static string Names(string lines) =>
        lines.Length == 0 ? "none" : lines.Replace("\n", ", ", StringComparison.Ordinal);
}
