using System.CommandLine;
using Capsul.Foundation;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul up</c>: Hub and Spoke in the foreground, until Ctrl-C or SIGTERM.</summary>
static class UpVerb
{
    static readonly Option<bool> Hub = new("--hub") { Description = "Run the Hub only." };
    static readonly Option<bool> Spoke = new("--spoke") { Description = "Run the Spoke only." };
    static readonly Option<int?> Port = new("--port")
    {
        Description =
        "Port of the web pages (CAPSUL_PORT); 0 picks a free one.",
        HelpName = "N"
    };
    static readonly Option<bool> Development = new("--development")
    {
        Description =
        "Show emails on a page and offer play money (CAPSUL_ENVIRONMENT=development)."
    };

    /// <summary>How a Spoke's process starts its Hub (<see cref="HubProcess"/>), with the log level.</summary>
    static readonly Option<LogLevel?> Attached = new("--attached") { Hidden = true };

    public static Command Make() => CommandLine.Verb("up", """
        Starts the Hub and the Spoke (both unless one is named) and runs until Ctrl-C. Without CAPSUL_DATABASE, a
        private PostgreSQL runs in the data folder. VMs keep running when the Spoke stops.

        Examples:
          capsul up                        both, on port 8080
          capsul up --hub --port 9000      the Hub alone, on port 9000
          capsul up --spoke                the Spoke alone, after: capsul spoke join TOKEN
        """, RunAsync, Hub, Spoke, Port, Development, Attached);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        if (parsed.GetValue(Port) is { } port) settings = settings.With(("CAPSUL_PORT", port.ToString()));
        if (parsed.GetValue(Development)) settings = settings.With(("CAPSUL_ENVIRONMENT", "development"));
        var (hub, spoke) = (parsed.GetValue(Hub), parsed.GetValue(Spoke));
        if (!hub && !spoke) hub = spoke = true;
        if (parsed.GetValue(Attached) is { } level)
            return await HubProcess.ServeAsync(stop => RunHubAsync(settings, level, stop), cancel);
        if (hub && !spoke && HubUser.IsNeeded(settings))
            HubUser.Become(await HubUser.PrepareAsync(settings, ["up", "--hub"], cancel));
        await RunBothAsync(settings, hub, spoke, cancel);
        return 0;
    }

    static async Task RunHubAsync(Settings settings, LogLevel level, CancellationToken cancel)
    {
        await using var running =
            await RunningCapsul.StartAsync(settings, withHub: true, withSpoke: false, level, cancel);
        HubProcess.SayReady();
        await running.AwaitEndAsync(cancel);
    }

    static async Task RunBothAsync(Settings settings, bool hub, bool spoke, CancellationToken cancel)
    {
        await using var running = await RunningCapsul.StartAsync(settings, hub, spoke, LogLevel.Information, cancel);
        if (hub) Console.WriteLine($"Capsul is running at {running.BaseUrl}  (Ctrl-C to stop)");
        if (settings.Simulated && spoke)
            Console.WriteLine("The hypervisor is SIMULATED: no real VMs are started, and nobody can log in to them.");
        await running.AwaitEndAsync(cancel);
    }
}
