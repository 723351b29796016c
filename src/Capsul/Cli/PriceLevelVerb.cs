using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.PriceLevels;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul price level</c>: levels of which people choose what they pay.</summary>
static class PriceLevelVerb
{
    static readonly Argument<string> Name = new("NAME") { Description = "As people see it." };

    static readonly Argument<string> Percent = new("PERCENT") { Description = "Of the standard price, such as 70." };

    static readonly Argument<long> Number = new("N") { Description = "Number, from capsul price level list." };

    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };

    static readonly Option<string?> Why =
        new("--reason") { Description = "Why; kept in the audit line.", HelpName = "TEXT", Required = true };

    public static Command Make() => new("level", """
        Shows, adds and retires price levels, and chooses one for an account. Without levels everybody pays the standard
        price.

        Examples:
          capsul price level add supported 70
          capsul price level add solidary 130
          capsul price level list
          capsul price level choose jo@example.org 1 --reason "asked by mail"
        """)
    {
        CommandLine.Verb("list", "Shows all levels, and how many accounts have each.", ListAsync),
        CommandLine.Verb("add", "Adds a level, which people can choose from now on.", AddAsync, Name, Percent),
        CommandLine.Verb("retire", "Retires a level: it can no longer be chosen, and accounts that have it keep it.",
            RetireAsync, Number),
        CommandLine.Verb("choose", """
            What an account pays from now on, if the person wants that: the number of a level; 0: the standard price.
            """, ChooseAsync, Email, Number, Why),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("number", "name", "percent", "accounts", "retired");
        foreach (var l in await database.Db.ListAsync<PriceLevelRow>(PriceLevelSql.List, null, cancel))
            table.AddRow([.. new[]
            {
                l.Id.ToString(CultureInfo.InvariantCulture), l.Name, $"{l.Percent}", $"{l.Accounts}",
                l.Retired is { } at ? Show.Date(at) : "",
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> AddAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var input = new ChangeLevels.Input(parsed.GetValue(Name), parsed.GetValue(Percent));
        var id = (await ChangeLevels.AddAsync(database.Db, "cli", input, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Level {id} is now offered.");
        return 0;
    }

    static async Task<int> RetireAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = (await ChangeLevels.RetireAsync(
            database.Db, "cli", parsed.GetValue(Number), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{name} is no longer offered.");
        return 0;
    }

    static async Task<int> ChooseAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var why = Reason.Parse(parsed.GetValue(Why)).OrThrow();
        long? level = parsed.GetValue(Number) is 0 ? null : parsed.GetValue(Number);
        var percent = (await ChooseLevel.RunAsync(
            database.Db, "cli", parsed.GetValue(Email), level, why, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{parsed.GetValue(Email)} pays {percent}% of the standard price from now on.");
        return 0;
    }
}
