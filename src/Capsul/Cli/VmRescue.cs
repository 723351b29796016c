using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm rescue</c>: the same decisions as the page.</summary>
static class VmRescue
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Option<bool> End = new("--end")
    {
        Description = "Ends the rescue: the VM is started from its own disk.",
    };

    public static Command Make() => CommandLine.Verb("rescue",
        "Starts a VM from a small system, with its own disk beside it as /dev/vdc, for when nobody can log in any "
        + "more. All SSH keys of its account may log in; the VM's page shows how. It stays in rescue, also when it or "
        + "its host is restarted, until that is ended.", RunAsync, Id, End);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var (id, ends) = (parsed.GetValue(Id)!, parsed.GetValue(End));
        (await (ends ? EndRescue.RunAsync(database.Db, "cli", null, id, settings, TimeProvider.System, cancel)
            : RescueVm.RunAsync(database.Db, "cli", null, id, settings, TimeProvider.System, cancel))).OrThrow();
        Console.WriteLine(ends ? $"{id} is started from its own disk." : $"{id} is started in rescue.");
        return 0;
    }
}
