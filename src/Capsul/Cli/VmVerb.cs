using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm</c>: what operators do with single VMs.</summary>
static class VmVerb
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Option<string?> To = new("--to")
    {
        Description = "The host that it goes to. Without it the best one with room is chosen.",
        HelpName = "HOST",
    };

    static readonly Option<string?> Why = new("--reason")
    {
        Description = "Why; kept in the audit line, and shown to the owner.",
        HelpName = "TEXT",
    };

    public static Command Make() => new("vm", """
        Moves VMs between hosts, reinstalls and rescues them, opens their consoles, and changes who and what
        reaches them. Run on the Hub's machine.

        Examples:
          capsul vm console capsul-0123456789
          capsul vm move capsul-0123456789
          capsul vm move capsul-0123456789 --to rack2 --reason "new disks in rack1"
        """)
    {
        CommandLine.Verb("move",
            "Moves a VM to another host: it is shut down, its disk is copied and verified, and it is started there if "
            + "it ran. Until then it can be canceled: capsul operation cancel.", MoveAsync, Id, To, Why),
        CommandLine.Verb("console",
            "Opens a VM's serial console in this terminal: it works when the VM's network does not. Who opened it is "
            + "written down. Ctrl-] leaves it.",
            (parsed, cancel) => VmConsole.RunAsync(parsed.GetValue(Id)!, cancel), Id),
        VmReinstall.Make(),
        VmRescue.Make(),
        VmKeys.Make(),
        VmFirewall.Make(),
        VmPort.Make(),
        VmTraffic.Make(),
        VmSite.Make(),
        VmReverse.Make(),
        VmAddress.Make(),
    };

    static async Task<int> MoveAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var input = new MoveVm.Input(parsed.GetValue(Id)!, parsed.GetValue(To));
        var operation = (await MoveVm.RunAsync(
            database.Db, "cli", input, parsed.GetValue(Why), settings, TimeProvider.System, cancel)).OrThrow();
        var move = await database.Db.FindAsync<MoveRow>(MoveSql.OfOperation, new { operation }, cancel);
        Console.WriteLine($"Operation {operation}: {input.Vm} is moving from {move!.FromHost} to {move.ToHost}.");
        return 0;
    }
}
