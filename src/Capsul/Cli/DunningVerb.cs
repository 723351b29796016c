using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul dunning</c>: what happens when money runs low.</summary>
static class DunningVerb
{
    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };

    static readonly Argument<string> Days =
        new("DAYS") { Description = $"A number from 1 to {HoldDunning.MostDays}." };

    static readonly Argument<int> Step = new("STEP") { Description = "Number of the step." };

    static readonly Option<string?> Why =
        new("--reason") { Description = "Why; kept in the audit line.", HelpName = "TEXT" };

    static readonly Option<string?> Runway = new("--runway")
    {
        Description = "It is taken when the balance lasts no longer than this, in hours; 0: when nothing is left.",
        HelpName = "HOURS",
    };

    static readonly Option<string?> After = new("--after")
    {
        Description = "And not before the email of the step before was delivered this long ago, in hours.",
        HelpName = "HOURS",
    };

    static readonly Argument<string> Does = new("ACTION") { Description = "mail, stop or delete." };

    static readonly Option<string?> Behind = new("--behind")
    {
        Description = "Number of the step before it; 0: it is the first. Without it: it is the last.",
        HelpName = "STEP",
    };

    static readonly Option<string?> Template = new("--email")
    {
        Description = "What a mail says: low_balance, used_up or last_notice. Without it: as --runway says.",
        HelpName = "NAME",
    };

    public static Command Make() => new("dunning", """
        Shows and changes what happens when the money of an account runs low (docs/dunning.md): emails, then its capsuls
        are stopped, then deleted. Run on the Hub's machine.

        Examples:
          capsul dunning show
          capsul dunning step 4 --after 168
          capsul dunning add mail --behind 3 --email used_up --after 48
          capsul dunning hold jo@example.org 30 --reason "pays by bank transfer"
        """)
    {
        CommandLine.Verb("show", "Shows the steps, and the accounts that have taken one or are held.", ShowAsync),
        CommandLine.Verb("step", "Changes when a step is taken.", StepAsync, Step, Runway, After),
        CommandLine.Verb("add", """
            Adds a step. Later ones get the next number, and accounts stay at the step that they have taken. What stops
            or deletes is taken when nothing is left, at least 24 hours after an email that says so.
            """, AddAsync, Does, Behind, Template, Runway, After),
        CommandLine.Verb("remove", "Removes a step. Accounts that have taken it are at the one before.", RemoveAsync,
            Step),
        CommandLine.Verb("hold", "Keeps an account from going further for a number of days. A reason is required.",
            HoldAsync, Email, Days, Why),
        CommandLine.Verb("release", "Ends a hold.", ReleaseAsync, Email),
        CommandLine.Verb("told", """
            Somebody whose email could not be delivered was told in another way; the time until the next step begins
            now. A reason is required.
            """, TellAsync, Email, Why),
        CommandLine.Verb("pause", "No account goes further. A reason is required.", PauseAsync, Why),
        CommandLine.Verb("resume", "Accounts go further again, with all the time that was left.", ResumeAsync),
    };

    static async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var db = database.Db;
        var clock = await db.AskAsync<DunningClockRow>(DunningSql.Clock, null, cancel);
        if (clock.Paused.Length > 0) Console.WriteLine($"Paused: {clock.Paused}");
        var steps = new Table().Border(TableBorder.Simple).AddColumns("step", "what", "email", "when", "after");
        foreach (var step in await db.ListAsync<DunningStepRow>(DunningSql.Steps, null, cancel))
            Add(steps, $"{step.Step}", step.Action, step.Template, step.When, DunningStepRow.Hours(step.AfterHours));
        Tables.Write(steps);
        var accounts = new Table().Border(TableBorder.Simple)
            .AddColumns("account", "balance", "step", "since", "email", "held until");
        foreach (var account in await db.ListAsync<DunnedAccountRow>(DunningPageSql.List,
            new { after = "", limit = int.MaxValue, now = TimeProvider.System.GetUtcNow().UtcDateTime }, cancel))
            Add(accounts, account.Email, Show.Dollars(account.Balance.Balance), $"{account.Step}",
                Show.Time(account.Taken), account.Delivery, account.HeldUntil is { } until ? Show.Time(until) : "");
        Tables.Write(accounts);
        return 0;
    }

    static void Add(Table table, params string[] cells) => table.AddRow([.. cells.Select(Markup.Escape)]);

    static async Task<int> StepAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var step = (await ChangeStep.RunAsync(database.Db, "cli", parsed.GetValue(Step), parsed.GetValue(Runway),
            parsed.GetValue(After), cancel)).OrThrow();
        Console.WriteLine($"Changed step {step}.");
        return 0;
    }

    static async Task<int> AddAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var step = (await AddStep.RunAsync(database.Db, "cli", new AddStep.Input(parsed.GetValue(Behind),
            parsed.GetValue(Does), parsed.GetValue(Template), parsed.GetValue(Runway), parsed.GetValue(After)),
            cancel)).OrThrow();
        Console.WriteLine($"Step {step} is new.");
        return 0;
    }

    static async Task<int> RemoveAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var step = (await ChangeStep.RemoveAsync(database.Db, "cli", parsed.GetValue(Step), cancel)).OrThrow();
        Console.WriteLine($"Removed step {step}.");
        return 0;
    }

    static async Task<int> HoldAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var until = (await HoldDunning.RunAsync(database.Db, "cli", parsed.GetValue(Email), parsed.GetValue(Days),
            parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Held until {Show.Time(until)}.");
        return 0;
    }

    static async Task<int> ReleaseAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var email = (await HoldDunning.ReleaseAsync(database.Db, "cli", parsed.GetValue(Email), cancel)).OrThrow();
        Console.WriteLine($"Released {email}.");
        return 0;
    }

    static async Task<int> TellAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var email = (await TellDunning.RunAsync(
            database.Db, "cli", parsed.GetValue(Email), parsed.GetValue(Why), cancel)).OrThrow();
        Console.WriteLine($"{email} was told; the time until the next step begins now.");
        return 0;
    }

    static async Task<int> PauseAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        (await PauseDunning.RunAsync(database.Db, "cli", parsed.GetValue(Why), cancel)).OrThrow();
        Console.WriteLine("Paused.");
        return 0;
    }

    static async Task<int> ResumeAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        (await PauseDunning.ResumeAsync(database.Db, "cli", cancel)).OrThrow();
        Console.WriteLine("Resumed.");
        return 0;
    }
}
