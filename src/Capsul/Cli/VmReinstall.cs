using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm reinstall</c>: the same decision as the page.</summary>
static class VmReinstall
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Option<string?> Image = new("--image")
    {
        Description = "The image of the new disk. Without it: the one that the VM has, in its host's version.",
        HelpName = "IMAGE",
    };

    static readonly Option<string?> Name = new("--lose-data-of")
    {
        Description = "The VM's name, to confirm that its data may go.",
        HelpName = "NAME",
        Required = true,
    };

    public static Command Make() => CommandLine.Verb("reinstall",
        "Gives a VM a new disk; all its data is lost. It keeps its addresses, ports, firewall and SSH keys, and gets "
        + "new host keys. The old disk is kept until the new one has booted; until then it can be canceled: capsul "
        + "operation cancel.", RunAsync, Id, Image, Name);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var input = new ReinstallVm.Input(
            parsed.GetValue(Id)!, parsed.GetValue(Image), null, parsed.GetValue(Name));
        var id = (await ReinstallVm.RunAsync(
            database.Db, "cli", null, input, settings, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{id} is being reinstalled. Its old disk is kept until the new one has booted.");
        return 0;
    }
}
