using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace Capsul.Foundation;

/// <summary>
/// The result of a program: exit code, and both streams as text (each truncated at <see
/// cref="Command.MaxOutputChars"/>).
/// </summary>
public sealed record CommandResult(int ExitCode, string Output, string Error)
{
    /// <summary>Last non-empty line of the error stream, or of the output: the part worth showing.</summary>
    public string LastLine =>
        (Error + "\n" + Output).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            is { Length: > 0 } all
            ? (Error.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault()
                ?? all[^1])
            : "";
}

/// <summary>
/// Starts a program with an argument list, never through a shell, and never without a time limit. A program that
/// exceeds its limit, or whose caller cancels, is killed with all its children. Output is read while it runs, up to a
/// limit.
/// </summary>
public sealed record Command(string Program, params IReadOnlyList<string> Arguments)
{
    /// <summary>Maximum number of characters kept of each stream; the rest is read and dropped.</summary>
    public const int MaxOutputChars = 1 << 20;

    static readonly TimeSpan DrainLimit = TimeSpan.FromSeconds(1);

    /// <summary>Time limit for one run. Default: one minute.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(1);

    public string? WorkingDirectory { get; init; }

    /// <summary>Variables added to (or, if null, removed from) the environment.</summary>
    public IReadOnlyDictionary<string, string?> Environment { get; init; } =
        new Dictionary<string, string?>(StringComparer.Ordinal);

    /// <summary>
    /// Text for standard input, which is closed after it. If null, standard input is closed immediately.
    /// </summary>
    public string? Input { get; init; }

    /// <summary>
    /// Writes standard input as bytes, instead of <see cref="Input"/>; it is closed when this returns. A broken pipe is
    /// not an error here: the exit code decides.
    /// </summary>
    public Func<Stream, CancellationToken, Task>? WriteInput { get; init; }

    /// <summary>Reads standard output as bytes; <see cref="CommandResult.Output"/> is empty then.</summary>
    public Func<Stream, CancellationToken, Task>? ReadOutput { get; init; }

    /// <summary>Called for each line of either stream as it arrives, on a pool thread.</summary>
    public Action<string>? OnLine { get; init; }

    /// <summary>Runs to the end and returns the result, whatever the exit code.</summary>
    /// <exception cref="ProblemException">Unavailable: the program is missing, or exceeded <see
    /// cref="Timeout"/>.</exception>
    public async Task<CommandResult> TryRunAsync(CancellationToken cancel)
    {
        using var process = Start();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Timeout);
        // The reader of the output may fail (a full disk); the program would then block forever on its pipe.
        using var unread = CancellationTokenSource.CreateLinkedTokenSource(limit.Token);
        var output = ReadOutput is null
            ? ReadAsync(process.StandardOutput, limit.Token)
            : ReadBytesAsync(process.StandardOutput.BaseStream, ReadOutput, limit.Token);
        var error = ReadAsync(process.StandardError, limit.Token);
        _ = output.ContinueWith(_ => unread.Cancel(), CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted
            | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        try
        {
            await WriteInputAsync(process, unread.Token);
            await process.WaitForExitAsync(unread.Token);
            return new CommandResult(process.ExitCode, await output, await error);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            if (output.IsFaulted) await output;
            throw new ProblemException(
                ProblemKind.Unavailable, $"{Program} did not finish within {Timeout.TotalSeconds:0} s.", ToString());
        }
        finally
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
        }
    }

    /// <summary>Runs to the end; an exit code other than 0 is a problem that quotes the program's last line.</summary>
    public async Task<CommandResult> RunAsync(CancellationToken cancel)
    {
        var result = await TryRunAsync(cancel);
        return result.ExitCode == 0
            ? result
            : throw new ProblemException(ProblemKind.Unavailable,
                $"{Path.GetFileName(Program)} failed (exit code {result.ExitCode}): {result.LastLine}",
                ToString());
    }

    /// <summary>
    /// Runs on this process's own terminal until the person exits it; returns the exit code. Ctrl-C goes to the program
    /// while it runs.
    /// </summary>
    public async Task<int> RunAttachedAsync(CancellationToken cancel)
    {
        ConsoleCancelEventHandler leave = (_, pressed) => pressed.Cancel = true;
        Console.CancelKeyPress += leave;
        try
        {
            using var process = Start(attached: true);
            await process.WaitForExitAsync(cancel);
            return process.ExitCode;
        }
        finally
        {
            Console.CancelKeyPress -= leave;
        }
    }

    /// <summary>
    /// Runs until it exits by itself or <paramref name="until"/> completes: then its standard input is closed, and it
    /// has <see cref="Timeout"/> to exit before it is killed. Returns the exit code.
    /// </summary>
    public async Task<int> RunBesideAsync(Task until)
    {
        using var process = Start();
        var read = Task.WhenAll(
            ReadAsync(process.StandardOutput, CancellationToken.None),
            ReadAsync(process.StandardError, CancellationToken.None));
        var ended = process.WaitForExitAsync(CancellationToken.None);
        await Task.WhenAny(until, ended);
        process.StandardInput.Close();
        if (await Task.WhenAny(ended, Task.Delay(Timeout, CancellationToken.None)) != ended)
            process.Kill(entireProcessTree: true);
        await ended;
        // A daemon that it started may keep the streams open.
        await Task.WhenAny(read, Task.Delay(DrainLimit, CancellationToken.None));
        return process.ExitCode;
    }

    /// <summary>The command as typed in a shell, for logs.</summary>
    public override string ToString() => string.Join(
        ' ', Arguments.Prepend(Program).Select(a => a.Contains(' ', StringComparison.Ordinal) ? $"'{a}'" : a));

    Process Start(bool attached = false)
    {
        var info = new ProcessStartInfo(Program)
        {
            UseShellExecute = false,
            RedirectStandardInput = !attached,
            RedirectStandardOutput = !attached,
            RedirectStandardError = !attached,
            WorkingDirectory = WorkingDirectory ?? "",
        };
        foreach (var argument in Arguments)
            info.ArgumentList.Add(argument);
        foreach (var (name, value) in Environment)
        {
            if (value is null) info.Environment.Remove(name);
            else info.Environment[name] = value;
        }
        try
        {
            return Process.Start(info)
                ?? throw new ProblemException(ProblemKind.Unavailable, $"{Program} could not be started.");
        }
        catch (Win32Exception error)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The program {Program} could not be started: {error.Message}.", ToString(), error);
        }
    }

    async Task WriteInputAsync(Process process, CancellationToken cancel)
    {
        try
        {
            if (WriteInput is not null)
                await WriteInput(process.StandardInput.BaseStream, cancel);
            if (Input is not null)
                await process.StandardInput.WriteAsync(Input.AsMemory(), cancel);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // The program exited before it read everything; its exit code decides.
        }
    }

    static async Task<string> ReadBytesAsync(
        Stream output, Func<Stream, CancellationToken, Task> read, CancellationToken cancel)
    {
        await read(output, cancel);
        return "";
    }

    async Task<string> ReadAsync(StreamReader reader, CancellationToken cancel)
    {
        var text = new StringBuilder();
        while (await reader.ReadLineAsync(cancel) is { } line)
        {
            OnLine?.Invoke(line);
            if (text.Length < MaxOutputChars)
                text.Append(line).Append('\n');
        }
        return text.ToString();
    }
}
