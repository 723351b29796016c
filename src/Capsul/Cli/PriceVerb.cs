using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul price</c>: what sizes cost, and will cost.</summary>
static class PriceVerb
{
    static readonly Argument<string> Size = new("SIZE")
    {
        Description = $"Name of the size; {Prices.FurtherAddress} for public IPv4 addresses besides a VM's first.",
    };

    static readonly Argument<string> Dollars = new("PRICE") { Description = "A month, such as 7.50." };

    static readonly Argument<long> Id =
        new("ID") { Description = "Number of the price, as capsul price list says it." };

    static readonly Option<string?> From = new("--from")
    {
        Description = "From when on: a day, such as 2027-01-31, or \"2027-01-31 12:00\", in UTC. Without it: from now.",
        HelpName = "DATE",
    };

    public static Command Make() => new("price", """
        Shows, announces and withdraws prices of sizes (docs/prices.md). A price is for all capsuls of the size from its
        date on; time before it keeps the price that it had. Run on the Hub's machine.

        Examples:
          capsul price list
          capsul price set f1-s 9 --from 2027-01-31
          capsul price set ipv4-address 2
          capsul price withdraw 12
        """)
    {
        CommandLine.Verb("list", "Shows all prices: past, in force, announced and withdrawn.", ListAsync),
        CommandLine.Verb("set", $"""
            Announces what a size costs. When the price rises, everybody who has this size gets an email at once, and it
            is announced {SetPrice.Notice.TotalDays} days before, or earlier.
            """, SetAsync, Size, Dollars, From),
        CommandLine.Verb("withdraw", """
            Withdraws a price that is not in force yet. Those who were told of a rise are told that it does not come.
            """, WithdrawAsync, Id),
        PriceLevelVerb.Make(),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var now = TimeProvider.System.GetUtcNow().UtcDateTime;
        var table = new Table().Border(TableBorder.Simple).AddColumns("ID", "size", "a month", "from", "state");
        foreach (var of in (await database.Db.ListAsync<PriceRow>(PriceSql.List, null, cancel)).GroupBy(p => p.Size))
        {
            foreach (var price in of)
                table.AddRow([.. new[]
                {
                    $"{price.Id}", price.Size, Show.Dollars(price.DollarsPerMonth),
                    price.IsFirst ? "the beginning" : Show.Time(price.ActiveFrom), price.StateAmong(of, now),
                }.Select(Markup.Escape)]);
        }
        Tables.Write(table);
        return 0;
    }

    static async Task<int> SetAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var input = new SetPrice.Input(parsed.GetValue(Size), parsed.GetValue(Dollars), parsed.GetValue(From));
        Console.WriteLine((await SetPrice.RunAsync(
            database.Db, "cli", input, settings, TimeProvider.System, cancel)).OrThrow());
        return 0;
    }

    static async Task<int> WithdrawAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        Console.WriteLine((await WithdrawPrice.RunAsync(
            database.Db, "cli", parsed.GetValue(Id), settings, TimeProvider.System, cancel)).OrThrow());
        return 0;
    }
}
