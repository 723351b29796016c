using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Vms;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm firewall</c>: what may reach a VM.</summary>
static class VmFirewall
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Argument<string> Preset = new("PRESET")
    {
        Description = $"{string.Join(", ", FirewallState.Presets.Select(p => p.Name))}; or open or closed, which "
            + "keep the rules.",
    };

    static readonly Argument<string> Protocol = new("PROTOCOL") { Description = "tcp or udp." };

    static readonly Argument<string> Ports =
        new("PORTS") { Description = "A port, or two with a hyphen: 8000-8010." };

    static readonly Option<string?> From = new("--from")
    {
        Description = "An address or network of either family. Without it: from anywhere.",
        HelpName = "NETWORK",
    };

    public static Command Make() => new("firewall", """
        Shows and changes what may connect to a VM. Its owner has the same as a page.

        Examples:
          capsul vm firewall show capsul-0123456789
          capsul vm firewall set capsul-0123456789 web
          capsul vm firewall allow capsul-0123456789 tcp 8000-8010 --from 203.0.113.0/24
          capsul vm firewall remove capsul-0123456789 tcp 443
        """)
    {
        CommandLine.Verb("show", "Shows the firewall of a VM.", ShowAsync, Id),
        CommandLine.Verb("set", "Replaces the firewall of a VM by a preset, or changes its policy.",
            (parsed, cancel) => ChangeAsync(parsed, parsed.GetValue(Preset) is FirewallState.OpenPolicy
                or FirewallState.ClosedPolicy ? new FirewallChange.Policy(parsed.GetValue(Preset))
                : new FirewallChange.Preset(parsed.GetValue(Preset)), cancel), Id, Preset),
        CommandLine.Verb("allow", "Lets new connections to a port or range through.", (parsed, cancel) => ChangeAsync(
            parsed, new FirewallChange.Allow(
                parsed.GetValue(Protocol), parsed.GetValue(Ports), parsed.GetValue(From)), cancel),
            Id, Protocol, Ports, From),
        CommandLine.Verb("remove", "Removes a rule, as show prints it.", (parsed, cancel) => ChangeAsync(
            parsed, new FirewallChange.Remove(
                parsed.GetValue(Protocol), parsed.GetValue(Ports), parsed.GetValue(From)), cancel),
            Id, Protocol, Ports, From),
    };

    static async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        if (await database.Db.FindAsync<FirewallRow>(FirewallSql.Find, new { id = parsed.GetValue(Id) }, cancel)
            is not { } row)
            throw new ProblemException(VmAction.NotFound);
        Write(FirewallState.Of(row));
        return 0;
    }

    static async Task<int> ChangeAsync(ParseResult parsed, FirewallChange change, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var id = parsed.GetValue(Id)!;
        Write((await ChangeFirewall.RunAsync(database.Db, "cli", null, id, change, cancel)).OrThrow());
        return 0;
    }

    static void Write(FirewallState firewall)
    {
        Console.WriteLine($"policy: {firewall.Policy}{(firewall.IsOpen ? " (not for VMs of other accounts)" : "")}");
        foreach (var rule in firewall.Rules) Console.WriteLine($"allow {rule}");
    }
}
