using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres.Migrations;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db repair</c>: for an interrupted script without a transaction.</summary>
static class DbRepair
{
    static readonly Option<bool> Resume = new("--resume") { Description = "Run the remaining statements." };
    static readonly Option<bool> RollBack = new("--roll-back")
    {
        Description =
        "Undo what ran, using the script for the opposite direction."
    };
    static readonly Option<string> Mark = new("--mark")
    {
        Description =
        "State whether the interrupted statement took effect: done or not-run.",
        HelpName = "done|not-run"
    };

    public static Command Make() => CommandLine.Verb("repair", """
        Shows which statements of an interrupted script ran, and resumes it or rolls it back. Only scripts without a
        transaction can be interrupted part way. Without an option nothing is changed. Exit code 1
        when something could not be undone.

        Examples:
          capsul db repair
          capsul db repair --resume
          capsul db repair --roll-back
          capsul db repair --mark done     the statement in doubt took effect
        """, RunAsync, Resume, RollBack, Mark);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var (resume, back, mark) = (parsed.GetValue(Resume), parsed.GetValue(RollBack), parsed.GetValue(Mark));
        if ((resume ? 1 : 0) + (back ? 1 : 0) + (mark is null ? 0 : 1) > 1)
            throw new ProblemException(ProblemKind.Invalid,
                "Use only one of --resume, --roll-back and --mark.");
        if (mark is not (null or "done" or "not-run")) throw new ProblemException(ProblemKind.Invalid,
            $"--mark must be done or not-run, not \"{mark}\".");
        await using var database = await CliDatabase.ConnectAsync(Settings.Load(), cancel);
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Information));
        await using var seat =
            resume || back || mark is not null ? await SeatLock.TakeAsync(database.Db, "capsul repair", cancel) : null;
        return await RunAsync(new Repair(database.Db, logs.CreateLogger("Capsul.Cli")), resume, back, mark, cancel);
    }

    static async Task<int> RunAsync(Repair repair, bool resume, bool back, string? mark, CancellationToken cancel)
    {
        if (resume)
        {
            var script = await repair.ResumeAsync(cancel);
            Console.WriteLine($"{script.Name} is complete; the database is at version {script.To}.");
            return 0;
        }
        if (mark is not null)
        {
            var line = await repair.MarkAsync(mark == "done", cancel);
            Console.WriteLine(
                $"Statement {line.Ordinal} is marked as {mark}. Continue with capsul db repair --resume.");
            return 0;
        }
        return back ? Undone(await repair.RollBackAsync(cancel)) : Show(await repair.LookAsync(cancel));
    }

    static int Undone(IReadOnlyList<UndoLine> lines)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("line", "statement", "");
        foreach (var line in lines)
            table.AddRow([.. new[] { line.Line.ToString(), Short(line.Statement), line.Said }.Select(Markup.Escape)]);
        Tables.Write(table);
        var left = lines.Count(l => !l.Good);
        Console.WriteLine(left == 0 ? "Everything that ran was undone."
            : $"{left} statement{(left == 1 ? "" : "s")} could not be undone; "
            + $"undo {(left == 1 ? "it" : "them")} manually, then run this again.");
        return left == 0 ? 0 : 1;
    }

    static int Show(Interrupted? interrupted)
    {
        if (interrupted is null)
        {
            Console.WriteLine("No script was interrupted; there is nothing to repair.");
            return 0;
        }
        var table = new Table().Border(TableBorder.Simple).AddColumns(
            "#", "line", "statement", "outcome", "started", "found", "problem");
        foreach (var line in interrupted.Lines)
        {
            table.AddRow([.. new[]
            {
                line.Ordinal.ToString(), line.Line.ToString(), Short(line.Statement),
                line.Outcome == "running" ? "interrupted" : line.Outcome,
                line.Started?.ToString("yyyy-MM-ddTHH:mm:ssZ") ?? "", line.Effect is { } effect ? Says(effect) : "",
                line.Problem,
            }.Select(Markup.Escape)]);
        }
        Tables.Write(table);
        var doubt = interrupted.Lines.Any(l => l.Effect == Effect.Unknown);
        Console.WriteLine($"{interrupted.Script.Name} was interrupted. " + (doubt
            ?
                "Check whether the interrupted statement took effect, then run: capsul db repair --mark done, or "
                + "--mark not-run. After that: capsul db repair --resume."
            : "Continue with capsul db repair --resume, or undo with capsul db repair --roll-back."));
        return 0;
    }

    static string Says(Effect effect) => effect switch
    {
        Effect.Absent => "nothing",
        Effect.There => "everything",
        Effect.Half => "an invalid index",
        Effect.Unknown => "unknown",
    };

    static string Short(string statement)
    {
        var line = string.Join(
            ' ', statement.Split((char[])['\n', '\r', ' ', '\t'], StringSplitOptions.RemoveEmptyEntries));
        return line.Length > 100 ? line[..99] + "…" : line;
    }
}
