using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Sponsorships;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul fund</c>: the solidarity fund, and the accounts that it helps.</summary>
static class FundVerb
{
    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };

    static readonly Argument<long> Number = new("N") { Description = "Number, from capsul fund show." };

    static readonly Option<string?> Amount =
        new("--amount") { Description = "Such as 10 or 7.50.", HelpName = "NUMBER", Required = true };

    static readonly Option<string?> Until = new("--until")
    {
        Description = "Nothing is paid on or after this day (UTC), such as 2027-01-31.",
        HelpName = "DATE",
    };

    static readonly Option<string?> Why =
        new("--reason") { Description = "Why; kept for operators.", HelpName = "TEXT", Required = true };

    /// <summary>The newest ones.</summary>
    const int ShownRows = 1000;

    public static Command Make() => new("fund", """
        Shows the solidarity fund, gives to it, and gives from it to accounts, once or by the month
        (docs/solidarity.md). Run on the Hub's machine.

        Examples:
          capsul fund show
          capsul fund give jo@example.org --amount 5 --reason "asked by mail"
          capsul fund grant kim@example.org --amount 20 --reason "lost the job"
          capsul fund sponsor kim@example.org --amount 7.50 --until 2027-01-31 --reason "training"
          capsul fund end 3 --reason "has work again"
        """)
    {
        CommandLine.Verb("show", "Shows the fund's balance, its history and the sponsorships.",
            ShowAsync),
        CommandLine.Verb("give", """
            Gives a part of an account's balance to the fund, if the person wants that. It does not come back.
            """, GiveAsync, Email, Amount, Why),
        CommandLine.Verb("grant", "Gives an account an amount from the fund, once.", GrantAsync, Email, Amount, Why),
        CommandLine.Verb("sponsor", """
            Gives an account an amount from the fund each month, the first time now. What the fund does not hold waits.
            """, SponsorAsync, Email, Amount, Until, Why),
        CommandLine.Verb("end", "Ends a sponsorship: nothing more is paid, including what is waiting.",
            EndAsync, Number, Why),
    };

    static async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        Console.WriteLine(
            $"In the fund: {Show.Dollars(await database.Db.AskAsync<decimal>(FundSql.Balance, null, cancel))}");
        var sponsorships = new Table().Border(TableBorder.Simple)
            .AddColumns("number", "account", "a month", "state", "paid", "next due", "until", "reason");
        foreach (var s in await database.Db.ListAsync<SponsorshipRow>(
            SponsorshipSql.List, new { after = 0L, isEnded = false, limit = ShownRows }, cancel))
            Add(sponsorships, s.Id.ToString(CultureInfo.InvariantCulture), s.Email, Show.Dollars(s.Amount), s.State,
                Show.Count(s.Months, "month", "months"), s.Ended is null ? Show.Date(s.NextDue) : "",
                s.Until is { } until ? Show.Date(until) : "", s.Reason);
        Tables.Write(sponsorships);
        var history = new Table().Border(TableBorder.Simple).AddColumns("date", "what", "amount");
        foreach (var entry in await database.Db.ListAsync<FundEntryRow>(
            FundSql.History, new { after = 0L, limit = ShownRows }, cancel))
            Add(history, Show.Date(entry.At), entry.What, Show.Dollars(entry.Amount));
        Tables.Write(history);
        return 0;
    }

    static void Add(Table table, params string[] cells) => table.AddRow([.. cells.Select(Markup.Escape)]);

    static async Task<int> GiveAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var why = Reason.Parse(parsed.GetValue(Why)).OrThrow();
        var payment = (await GiveToFund.RunAsync(database.Db, settings, "cli", parsed.GetValue(Email),
            new GiveToFund.Input(parsed.GetValue(Amount), Confirmed: true), FundKey.Make(), why, TimeProvider.System,
            cancel)).OrThrow();
        Console.WriteLine($"Given to the fund, as payment {payment}.");
        return 0;
    }

    static async Task<int> GrantAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var input = new GrantMoney.Input(parsed.GetValue(Email), parsed.GetValue(Amount), parsed.GetValue(Why));
        var payment = (await GrantMoney.RunAsync(
            database.Db, settings, "cli", input, FundKey.Make(), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{parsed.GetValue(Email)} has been credited (payment {payment}).");
        return 0;
    }

    static async Task<int> SponsorAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var input = new SponsorAccount.Input(parsed.GetValue(Email), parsed.GetValue(Amount), parsed.GetValue(Until),
            parsed.GetValue(Why));
        Console.WriteLine(SponsorAccount.Say((await SponsorAccount.RunAsync(
            database.Db, settings, "cli", input, TimeProvider.System, cancel)).OrThrow()));
        return 0;
    }

    static async Task<int> EndAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var email = (await EndSponsorship.RunAsync(database.Db, "cli", parsed.GetValue(Number),
            parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"The sponsorship of {email} has ended.");
        return 0;
    }
}
