using System.CommandLine;
using Capsul.Foundation;
using Capsul.Spoke.Link;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul spoke</c>: this machine as a host.</summary>
static class SpokeVerb
{
    static readonly Argument<string> Token =
        new("TOKEN") { Description = "What `capsul host invite NAME` printed on the Hub." };

    public static Command Make() => new("spoke", """
        This machine as a host of VMs.

        Example:
          capsul spoke join TOKEN          then: capsul up --spoke
        """)
    {
        CommandLine.Verb("join", """
            Joins a Hub with a one-time token. After that: capsul up --spoke.

            Example:
              capsul spoke join capsul-join.MTI3LjAuMC4xOjg0NDM.…
            """, JoinAsync, Token),
        Hidden(CommandLine.Verb("relay", "Relays ports to the VMs' SSH. Started by the Spoke.", RelayAsync)),
    };

    static Command Hidden(Command command)
    {
        command.Hidden = true;
        return command;
    }

    static async Task<int> RelayAsync(ParseResult parsed, CancellationToken cancel)
    {
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Warning));
        await new RelayServer(Settings.Load(), logs.CreateLogger<RelayServer>()).RunAsync(cancel);
        return 0;
    }

    static async Task<int> JoinAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        var token = JoinToken.Parse(parsed.GetValue(Token)!)
            ?? throw new ProblemException(
                ProblemKind.Invalid, "That is not a join token. It begins with capsul-join. and is one line.");
        using var folder = DataFolder.Take(settings.Data, "spoke");
        var identity = await Identity.JoinAsync(settings.Data, token, cancel);
        Console.WriteLine($"Joined {identity.Address} as host {identity.HostId}. Start with: capsul up --spoke");
        return 0;
    }
}
