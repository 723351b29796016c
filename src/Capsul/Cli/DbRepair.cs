using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres.Migrations;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db repair</c>: the ways out of a script without a transaction that was interrupted.</summary>
static class DbRepair
{
    static readonly Option<bool> Resume = new("--resume") { Description = "Run what is left of it." };
    static readonly Option<bool> RollBack = new("--roll-back") { Description = "Undo what ran, with the script of the other direction." };
    static readonly Option<string> Mark = new("--mark") { Description = "Say what became of the statement in doubt: done or not-run.", HelpName = "done|not-run" };

    public static Command Make() => CommandLine.Verb("repair", """
        Shows what ran of a script that was interrupted, and goes on or back. Only scripts without a transaction can be interrupted half
        way. Without an option it changes nothing. Exit code 1 when something could not be undone.

        Examples:
          capsul db repair
          capsul db repair --resume
          capsul db repair --roll-back
          capsul db repair --mark done     the statement in doubt took effect
        """, RunAsync, Resume, RollBack, Mark);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var (resume, back, mark) = (parsed.GetValue(Resume), parsed.GetValue(RollBack), parsed.GetValue(Mark));
        if ((resume ? 1 : 0) + (back ? 1 : 0) + (mark is null ? 0 : 1) > 1) throw new ProblemException(ProblemKind.Invalid, "One of --resume, --roll-back and --mark at a time.");
        if (mark is not (null or "done" or "not-run")) throw new ProblemException(ProblemKind.Invalid, $"--mark says done or not-run, not \"{mark}\".");
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel, migrate: false);
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Information));
        await using var seat = resume || back || mark is not null ? await SeatLock.TakeAsync(database.Db, "capsul repair", cancel) : null;
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
            Console.WriteLine($"Statement {line.Ordinal} is marked as {mark}. Go on with capsul db repair --resume.");
            return 0;
        }
        return back ? Undone(await repair.RollBackAsync(cancel)) : Show(await repair.LookAsync(cancel));
    }

    static int Undone(IReadOnlyList<UndoLine> lines)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("line", "statement", "");
        foreach (var line in lines) table.AddRow([.. new[] { line.Line.ToString(), Short(line.Statement), line.Said }.Select(Markup.Escape)]);
        Tables.Write(table);
        var left = lines.Count(l => !l.Good);
        Console.WriteLine(left == 0 ? "All that ran is undone." : $"{left} statement{(left == 1 ? "" : "s")} could not be undone; see to {(left == 1 ? "it" : "them")} by hand, then run this again.");
        return left == 0 ? 0 : 1;
    }

    static int Show(Interrupted? interrupted)
    {
        if (interrupted is null)
        {
            Console.WriteLine("No script is interrupted; there is nothing to repair.");
            return 0;
        }
        var table = new Table().Border(TableBorder.Simple).AddColumns("#", "line", "statement", "outcome", "begun", "there is", "problem");
        foreach (var line in interrupted.Lines)
        {
            table.AddRow([.. new[] { line.Ordinal.ToString(), line.Line.ToString(), Short(line.Statement), line.Outcome == "running" ? "interrupted" : line.Outcome,
                line.Started?.ToString("yyyy-MM-ddTHH:mm:ssZ") ?? "", line.Effect is { } effect ? Says(effect) : "", line.Problem }.Select(Markup.Escape)]);
        }
        Tables.Write(table);
        var doubt = interrupted.Lines.Any(l => l.Effect == Effect.Unknown);
        Console.WriteLine($"{interrupted.Script.Name} was interrupted. " + (doubt
            ? "Look whether the statement in doubt took effect, and say so: capsul db repair --mark done, or --mark not-run. Then: capsul db repair --resume."
            : "Go on with capsul db repair --resume, or back with capsul db repair --roll-back."));
        return 0;
    }

    static string Says(Effect effect) => effect switch
    {
        Effect.Absent => "nothing of it",
        Effect.There => "all of it",
        Effect.Half => "an index that is not valid",
        Effect.Unknown => "nobody can tell what",
    };

    static string Short(string statement)
    {
        var line = string.Join(' ', statement.Split((char[])['\n', '\r', ' ', '\t'], StringSplitOptions.RemoveEmptyEntries));
        return line.Length > 100 ? line[..99] + "…" : line;
    }
}
