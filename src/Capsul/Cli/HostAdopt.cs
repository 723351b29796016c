using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul host adopt</c>: a machine that Capsul did not make becomes a VM.</summary>
static class HostAdopt
{
    static readonly Argument<string> Host = new("HOST") { Description = "The host that the machine is on." };

    static readonly Argument<string> Domain =
        new("DOMAIN") { Description = "The machine's name in libvirt, or its UUID." };

    static readonly Option<string> Account =
        new("--account") { Description = "Email address of its owner.", HelpName = "EMAIL", Required = true };

    static readonly Option<string> Size =
        new("--size") { Description = "Size that it has and costs from now on.", HelpName = "SIZE", Required = true };

    static readonly Option<string?> Name =
        new("--name") { Description = "Its name; otherwise the machine's.", HelpName = "NAME" };

    static readonly Option<string?> Why =
        new("--reason") { Description = "Why; kept in the audit line.", HelpName = "TEXT" };

    public static Command Make() => CommandLine.Verb("adopt",
        "Makes a VM of a machine on a host's libvirt that Capsul did not make. The machine is shut down for it.",
        RunAsync, Host, Domain, Account, Size, Name, Why);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var vm = (await AdoptVm.RunAsync(database.Db, "cli", new AdoptVm.Input(
            parsed.GetValue(Host)!, parsed.GetValue(Domain)!, parsed.GetValue(Account), parsed.GetValue(Size),
            parsed.GetValue(Name), parsed.GetValue(Why)), settings, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{vm}: the machine is shut down and taken over. See: capsul operation list");
        return 0;
    }
}
