using System.Diagnostics;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Tests.Support;

/// <summary>
/// The built executable, run as a person runs it: a separate process, with its own environment and data folder.
/// </summary>
public sealed class CapsulProgram : IAsyncDisposable
{
    static readonly TimeSpan EndLimit = TimeSpan.FromSeconds(60);

    /// <summary>
    /// The socket of the tests' cluster is accessible to its own user only, so the programs' Hubs run as that user.
    /// </summary>
    public const string HubUser = "postgres";

    readonly Process process;
    readonly StringBuilder said = new();
    readonly Lock gate = new();

    CapsulProgram(Process process) => this.process = process;

    /// <summary>As people start it: the copy beside the tests is not compiled ahead of time.</summary>
    public static string File { get; } = Path.Combine(Golden.Root, "src/Capsul/bin/Release/net10.0/capsul");

    /// <summary>
    /// <c>sql</c> has a second front, the same sources as native code: with its path in NATIVE_SQL the tests of that
    /// verb go through it.
    /// </summary>
    public static string SqlFile { get; } =
        Environment.GetEnvironmentVariable("NATIVE_SQL") is { Length: > 0 } native ? native : File;

    static string FileOf(string[] arguments) => arguments is ["sql", ..] ? SqlFile : File;

    public int Id => process.Id;

    public bool HasExited => process.HasExited;

    /// <summary>Everything it has printed so far, both streams.</summary>
    public string Said
    {
        get
        {
            lock (gate) return said.ToString();
        }
    }

    /// <summary>Runs a command to its end.</summary>
    public static Task<CommandResult> RunAsync(
        IReadOnlyDictionary<string, string> environment, CancellationToken cancel, params string[] arguments) =>
        new Command(FileOf(arguments), arguments)
        {
            Environment = Changes(environment),
            Timeout = TimeSpan.FromMinutes(2),
        }.TryRunAsync(cancel);

    /// <summary>Starts a verb that goes on until it is stopped.</summary>
    public static CapsulProgram Start(
        IReadOnlyDictionary<string, string> environment, params string[] arguments) =>
        StartFile(FileOf(arguments), environment, arguments);

    /// <summary>The same for another program.</summary>
    public static CapsulProgram StartFile(
        string file, IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        var info = new ProcessStartInfo(file)
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        foreach (var argument in arguments) info.ArgumentList.Add(argument);
        foreach (var (name, value) in Changes(environment))
        {
            if (value is null) info.Environment.Remove(name);
            else info.Environment[name] = value;
        }
        var started = new CapsulProgram(Process.Start(info)!);
        started.process.OutputDataReceived += (_, line) => started.Hear(line.Data);
        started.process.ErrorDataReceived += (_, line) => started.Hear(line.Data);
        started.process.BeginOutputReadLine();
        started.process.BeginErrorReadLine();
        return started;
    }

    /// <summary>Waits until it has printed a text; if it exits before, fails with all its output.</summary>
    public Task AwaitSaidAsync(string text, TimeSpan limit) => Until.TrueAsync(
        $"\"{text}\" in what {string.Join(' ', process.StartInfo.ArgumentList)} says:\n{Said}", limit, () =>
        {
            if (Said.Contains(text, StringComparison.Ordinal)) return Task.FromResult(true);
            return HasExited
                ? throw new InvalidOperationException($"It ended with exit code {process.ExitCode}:\n{Said}")
                : Task.FromResult(false);
        });

    /// <summary>TERM, STOP, CONT, KILL …</summary>
    public Task SignalAsync(string signal) => SignalAsync(signal, process.Id);

    public static Task SignalAsync(string signal, int pid) =>
        new Command("kill", $"-{signal}", pid.ToString()).RunAsync(CancellationToken.None);

    /// <summary>Waits until it has exited; returns its exit code.</summary>
    public async Task<int> EndAsync()
    {
        using var limit = new CancellationTokenSource(EndLimit);
        await process.WaitForExitAsync(limit.Token);
        return process.ExitCode;
    }

    /// <summary>Like a power failure.</summary>
    public async Task KillAsync()
    {
        if (!process.HasExited) process.Kill();
        await EndAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        process.Dispose();
    }

    /// <summary>The tests' own environment must not leak in: an unknown CAPSUL_ name is refused.</summary>
    static Dictionary<string, string?> Changes(IReadOnlyDictionary<string, string> environment)
    {
        var changes = new Dictionary<string, string?>(StringComparer.Ordinal);
        foreach (var name in Environment.GetEnvironmentVariables().Keys.Cast<string>()
            .Where(n => n.StartsWith("CAPSUL_", StringComparison.Ordinal)))
            changes[name] = null;
        changes["CAPSUL_HUB_USER"] = HubUser;
        // Most of these programs end before what they would learn of themselves pays.
        changes["DOTNET_TieredPGO"] = "0";
        foreach (var (name, value) in environment) changes[name] = value;
        return changes;
    }

    void Hear(string? line)
    {
        if (line is null) return;
        lock (gate) said.AppendLine(line);
    }
}
