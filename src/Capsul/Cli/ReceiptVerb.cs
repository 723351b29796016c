using System.CommandLine;
using System.Globalization;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul receipt</c>: who sells, and all receipts for the books.</summary>
static class ReceiptVerb
{
    static readonly Option<string?> Name = new("--name") { Description = "Name of the seller.", HelpName = "TEXT" };

    static readonly Option<string?> Address =
        new("--address") { Description = "Its address; lines are separated by semicolons.", HelpName = "TEXT" };

    static readonly Option<string?> TaxNumber =
        new("--tax-number") { Description = "Its tax number.", HelpName = "TEXT" };

    static readonly Option<string?> TaxLabel = new("--tax-label")
    {
        Description = "What the tax is called, such as VAT; without it: no tax.",
        HelpName = "TEXT",
    };

    static readonly Option<string?> TaxPercent =
        new("--tax-percent") { Description = "The tax rate, such as 19.", HelpName = "NUMBER" };

    static readonly Option<string?> From = new("--from")
    {
        Description = "For payments from this day on, in UTC. Without it: from now, or, for the first, all payments.",
        HelpName = "DATE",
    };

    public static Command Make() => new("receipt", """
        Says who sells and which tax is in the prices, and exports all receipts (docs/receipts.md). Run on the Hub's
        machine.

        Examples:
          capsul receipt seller --name "Meadow Co-op" --address "1 Lane; 12345 Town" --tax-label VAT --tax-percent 19
          capsul receipt sellers
          capsul receipt export > receipts.csv
        """)
    {
        CommandLine.Verb("seller", """
            Says who sells from a day on. What was said before stays, and so do receipts that were made.
            """, SetAsync, Name, Address, TaxNumber, TaxLabel, TaxPercent, From),
        CommandLine.Verb("sellers", "Shows who sells, and has sold.", ListAsync),
        CommandLine.Verb("export", "Writes all receipts and credit notes to standard output, as CSV.", ExportAsync),
    };

    static async Task<int> SetAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var input = new SetSeller.Input(parsed.GetValue(Name), parsed.GetValue(Address)?.Replace(';', '\n'),
            parsed.GetValue(TaxNumber), parsed.GetValue(TaxLabel), parsed.GetValue(TaxPercent), parsed.GetValue(From));
        var seller = (await SetSeller.RunAsync(database.Db, "cli", input, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine(seller.IsFirst ? $"All receipts are {seller.Name}'s."
            : $"Receipts for payments from {Show.Time(seller.ActiveFrom)} on are {seller.Name}'s.");
        return 0;
    }

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("payments from", "name", "address", "tax number", "tax", "percent");
        foreach (var s in await database.Db.ListAsync<SellerRow>(ReceiptSql.Sellers, null, cancel))
            table.AddRow([.. new[]
            {
                s.IsFirst ? "the beginning" : Show.Time(s.ActiveFrom), s.Name,
                s.Address.Replace('\n', ';'), s.TaxNumber, s.TaxLabel,
                s.TaxPercent.ToString("0.##", CultureInfo.InvariantCulture),
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> ExportAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        await using var output = new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false), 1 << 16);
        await ExportReceipts.RunAsync(database.Db, output, cancel);
        return 0;
    }
}
