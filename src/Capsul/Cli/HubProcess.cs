using Capsul.Foundation;
using Command = Capsul.Foundation.Command;

namespace Capsul.Cli;

/// <summary>
/// The Hub as a separate process beside the Spoke, with its own user (<see cref="HubUser"/>): <c>up --hub</c> attached
/// to this process by its standard streams. It exits when its standard input is closed, so also when this process is
/// killed. Its log is forwarded.
/// </summary>
sealed class HubProcess : IAsyncDisposable
{
    /// <summary>The first line of the process on standard output: that it is ready, or why it is not.</summary>
    const string Ready = "hub: ready", Refused = "hub: refused ";

    readonly TaskCompletionSource ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource stop = new(TaskCreationOptions.RunContinuationsAsynchronously);

    HubProcess(Command command) => Ended = (command with { OnLine = Hear }).RunBesideAsync(stop.Task);

    /// <summary>Completes when the process has exited for any reason.</summary>
    public Task Ended { get; }

    /// <summary>Returns when the Hub is ready.</summary>
    /// <exception cref="ProblemException">The problem that the Hub reported.</exception>
    public static async Task<HubProcess> StartAsync(Settings settings, LogLevel level, CancellationToken cancel)
    {
        string[] arguments = ["up", "--hub", "--attached", level.ToString()];
        var command = HubUser.IsNeeded(settings) ? await HubUser.PrepareAsync(settings, arguments, cancel)
            : new Command(Path.Combine(AppContext.BaseDirectory, "capsul"), arguments)
            { Environment = settings.ToEnvironment() };
        // In a session of its own: Ctrl-C is for this process, which then ends the other.
        var process = new HubProcess(
            command with { Program = "setsid", Arguments = [command.Program, .. command.Arguments] });
        try
        {
            await (await Task.WhenAny(process.ready.Task, process.Ended)).WaitAsync(cancel);
            if (process.ready.Task.IsCompleted) await process.ready.Task;
            else throw new ProblemException(ProblemKind.Unavailable, "The Hub did not start; see its log above.");
            return process;
        }
        catch
        {
            await process.DisposeAsync();
            throw;
        }
    }

    /// <summary>The other end: runs a Hub until standard input is closed.</summary>
    public static async Task<int> ServeAsync(Func<CancellationToken, Task> run, CancellationToken cancel)
    {
        using var parent = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        // Not awaited in the end: reading a console cannot be cancelled.
        _ = WatchAsync(parent);
        try
        {
            await run(parent.Token);
            return 0;
        }
        catch (ProblemException error)
        {
            Console.WriteLine($"{Refused}{error.Problem.Kind} {error.Problem.Message.ReplaceLineEndings(" ")}");
            return error.Problem.ExitCode;
        }
    }

    public static void SayReady() => Console.WriteLine(Ready);

    static async Task WatchAsync(CancellationTokenSource parent)
    {
        await using var input = Console.OpenStandardInput();
        while (await input.ReadAsync(new byte[256], CancellationToken.None) > 0)
        {
            // Nothing is sent to a Hub this way.
        }
        try
        {
            await parent.CancelAsync();
        }
        catch (ObjectDisposedException)
        {
            // It ended by itself.
        }
    }

    void Hear(string line)
    {
        if (line == Ready) ready.TrySetResult();
        else if (line.StartsWith(Refused, StringComparison.Ordinal)) Refuse(line[Refused.Length..]);
        else Console.Error.WriteLine(string.Concat(line.Where(c => !char.IsControl(c) || c == '\t')));
    }

    void Refuse(string problem)
    {
        var parts = problem.Split(' ', 2);
        if (!Enum.TryParse<ProblemKind>(parts[0], out var kind)) kind = ProblemKind.Unavailable;
        ready.TrySetException(new ProblemException(kind, parts[^1]));
    }

    public async ValueTask DisposeAsync()
    {
        stop.TrySetResult();
        await Ended.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
