using System.CommandLine;
using System.CommandLine.Invocation;
using Capsul.Foundation;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary>
/// The command line: one file a verb. An expected refusal is one sentence on standard error and its exit code
/// (<see cref="Problem.ExitCode"/>); anything else is a bug, and is one sentence too. This half knows no verb: it is
/// also compiled into the native program of <c>capsul sql</c>.
/// </summary>
public static partial class CommandLine
{
    /// <summary>What a clean stop may take: a Hub with a database to close.</summary>
    static readonly TimeSpan StopLimit = TimeSpan.FromSeconds(60);

    /// <summary>EX_SOFTWARE of sysexits.h.</summary>
    const int Bug = 70;

    /// <summary>Runs the verb that the line names.</summary>
    /// <param name="root">The verbs, of which it may be one.</param>
    /// <param name="args">The line, without the program's name.</param>
    public static async Task<int> RunAsync(RootCommand root, string[] args)
    {
        // An argument that begins with @ is what it says: SQL has an operator of that name.
        var parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        try
        {
            if (parsed.Action is ParseErrorAction && args.Length > 0)
                throw new ProblemException(ProblemKind.Invalid, WrongUse(parsed));
            return await parsed.InvokeAsync(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = StopLimit,
            });
        }
        catch (ProblemException error)
        {
            await Console.Error.WriteLineAsync($"capsul: {error.Problem.Message}");
            return error.Problem.ExitCode;
        }
        catch (OperationCanceledException)
        {
            return 130;
        }
        catch (Exception error)
        {
            return await ReportBugAsync(error);
        }
    }

    /// <summary>Users get one sentence; the stack trace goes to a file that only its owner may read.</summary>
    static async Task<int> ReportBugAsync(Exception error)
    {
        var file = Path.Combine(Path.GetTempPath(), $"capsul-error-{Environment.ProcessId}.txt");
        try
        {
            await DataFolder.WriteWholeAsync(
                file, System.Text.Encoding.UTF8.GetBytes(error.ToString()), CancellationToken.None);
        }
        catch (Exception written) when (written is IOException or UnauthorizedAccessException)
        {
            file = "(could not be written)";
        }
        await Console.Error.WriteLineAsync(
            $"capsul: This should not have happened, and is a bug: {error.GetType().Name}: "
                + $"{error.Message.ReplaceLineEndings(" ")} Please report it with this file: {file}");
        return Bug;
    }

    /// <summary>
    /// What is wrong with the line that was typed. The parser's first complaint is often "a command is missing", where
    /// the next one says which word it did not know.
    /// </summary>
    static string WrongUse(ParseResult parsed)
    {
        var errors = parsed.Errors.Select(e => e.Message.Trim()).ToList();
        var says = errors.Find(e => e.StartsWith("Unrecognized", StringComparison.Ordinal)) ?? errors[0];
        // The rest would be the name of a type of .NET's.
        says = says.Split(" as expected type", 2)[0].TrimEnd('.', ':');
        var verb = string.Join(' ', Line(parsed.CommandResult));
        return $"{says}. See: {verb} --help";

        static IEnumerable<string> Line(System.CommandLine.Parsing.CommandResult command) =>
            command.Parent is System.CommandLine.Parsing.CommandResult above
                ? Line(above).Append(command.Command.Name)
                : ["capsul"];
    }

    /// <summary>A verb without more than this.</summary>
    public static Command Verb(
        string name, string description, Func<ParseResult, CancellationToken, Task<int>> run, params Symbol[] symbols)
    {
        var verb = new Command(name, description);
        foreach (var symbol in symbols)
        {
            if (symbol is Option option) verb.Add(option);
            else if (symbol is Argument argument) verb.Add(argument);
            else if (symbol is Command command) verb.Add(command);
        }
        verb.SetAction(run);
        return verb;
    }
}
