using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.AccountLimits;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul limit</c>: how much new accounts may run, and their approval.</summary>
static class LimitVerb
{
    static readonly Option<string?> AfterDays =
        new("--after-days") { Description = "Days since the account was made; default 0.", HelpName = "NUMBER" };

    static readonly Option<string?> Paid =
        new("--paid") { Description = "What was paid into it; default 0.", HelpName = "NUMBER" };

    static readonly Option<string?> MaxVms =
        new("--max-vms") { Description = "How many VMs it may have.", HelpName = "NUMBER", Required = true };

    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };

    const int ShownAccounts = 1000;

    public static Command Make() => new("limit", """
        Shows and changes how much accounts may run that are new, and approves accounts (docs/new-accounts.md). Run on
        the Hub's machine.

        Examples:
          capsul limit set --max-vms 1
          capsul limit set --after-days 30 --paid 20 --max-vms 5
          capsul limit show
          capsul limit approve jo@example.org
        """)
    {
        CommandLine.Verb(
            "show", "Shows the lines, the accounts that wait to be approved, and trial credit.", ShowAsync),
        CommandLine.Verb("set", "Adds a line, or changes the one of this age and amount.", SetAsync, AfterDays, Paid,
            MaxVms),
        CommandLine.Verb("remove", "Removes a line.", RemoveAsync, AfterDays, Paid),
        CommandLine.Verb("approve", "Approves an account that waits; its owner is emailed.", ApproveAsync, Email),
    };

    static async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var lines = new Table().Border(TableBorder.Simple).AddColumns("after days", "paid", "most VMs");
        foreach (var line in await database.Db.ListAsync<AccountLimitRow>(AccountLimitSql.List, null, cancel))
            Add(lines, $"{line.AfterDays}", Show.Dollars(line.Paid), $"{line.MaxVms}");
        Tables.Write(lines);
        var waiting = new Table().Border(TableBorder.Simple).AddColumns("waits to be approved", "since");
        foreach (var account in await database.Db.ListAsync<WaitingAccountRow>(
            AccountLimitSql.ListWaiting, new { limit = ShownAccounts }, cancel))
            Add(waiting, account.Email, Show.Time(account.Waits));
        Tables.Write(waiting);
        var trials = await database.Db.AskAsync<TrialSumsRow>(TrialSql.Sums, null, cancel);
        Console.WriteLine($"Trial credit: {Show.Dollars(trials.Amount)} was given to "
            + $"{Show.Count(trials.Given, "account", "accounts")}; {Show.Dollars(trials.Lapsed)} of it lapsed.");
        return 0;
    }

    static void Add(Table table, params string[] cells) => table.AddRow([.. cells.Select(Markup.Escape)]);

    static async Task<int> SetAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var line = (await ChangeLimit.RunAsync(database.Db, settings, "cli", new ChangeLimit.Input(
            parsed.GetValue(AfterDays), parsed.GetValue(Paid), parsed.GetValue(MaxVms)), cancel)).OrThrow();
        Console.WriteLine(
            $"Accounts of {line.AfterDays} days that have paid {Show.Plain(line.Paid)} may have {line.MaxVms}.");
        return 0;
    }

    static async Task<int> RemoveAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        (await ChangeLimit.RemoveAsync(database.Db, settings, "cli",
            new ChangeLimit.Input(parsed.GetValue(AfterDays), parsed.GetValue(Paid), null), cancel)).OrThrow();
        Console.WriteLine("Removed.");
        return 0;
    }

    static async Task<int> ApproveAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var email = (await ApproveAccount.RunAsync(
            database.Db, settings, "cli", parsed.GetValue(Email), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{email} is approved.");
        return 0;
    }
}
