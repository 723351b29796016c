using System.CommandLine;
using System.Globalization;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul receipt</c>: who sells, what is issued, and all receipts for the books.</summary>
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

    static readonly Argument<int> Payment =
        new("PAYMENT") { Description = "Number of the payment, from capsul ledger show EMAIL." };

    static readonly Argument<int> Next = new("N") { Description = "The number of the next receipt." };

    static readonly Option<string> Why = new("--reason")
    { Description = "Why numbers are missing; kept with the gap.", Required = true };

    public static Command Make() => new("receipt", """
        Says who sells and which tax is in the prices, issues and exports receipts (docs/receipts.md). Run on the Hub's
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
        CommandLine.Verb("issue", """
            Issues the receipt of a payment, and the credit notes that are missing. It is addressed as its owner has
            entered on the account page, or as an earlier receipt of the same payment. What follows from a receipt, the
            active Hub issues by itself.

            Example:
              capsul receipt issue 12
            """, IssueAsync, Payment),
        CommandLine.Verb("continue-at", """
            Says with which number receipts go on, after a backup was restored or a database was lost: otherwise numbers
            that customers have already would be given out again. The numbers until then are kept as a gap, with the
            reason. It never goes backwards. Do it before the Hub starts: it issues credit notes by itself.

            Example:
              capsul receipt continue-at 46 --reason "the backup of 2 March was restored; 41 to 45 are with customers"
            """, ContinueAsync, Next, Why),
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

    static async Task<int> IssueAsync(ParseResult parsed, CancellationToken cancel)
    {
        var id = parsed.GetValue(Payment);
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var made = (await IssueReceipt.ByOperatorAsync(database.Db, "cli", id, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine(made == 0 ? "Nothing is missing." : $"{made} issued.");
        foreach (var r in await database.Db.ListAsync<ReceiptRow>(ReceiptSql.OfPayment, new { id }, cancel))
            Console.WriteLine($"{r.Title} {r.Number}: {Show.Plain(r.Gross)}");
        return 0;
    }

    static async Task<int> ContinueAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var gap = (await ContinueNumbers.RunAsync(database.Db, "cli", parsed.GetValue(Next), parsed.GetValue(Why),
            TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Receipts go on with number {gap.Last + 1}; {gap.First} to {gap.Last} are kept as a gap.");
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
