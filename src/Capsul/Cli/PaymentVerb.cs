using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul payment</c>: money that was received outside the web pages.</summary>
static class PaymentVerb
{
    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };
    static readonly Argument<string> Dollars = new("DOLLARS") { Description = "Amount, such as 20 or 12.50." };
    static readonly Option<string> Note = new("--note")
    {
        Description =
        "Note stored with the payment.",
        DefaultValueFactory = _ => ""
    };

    static readonly Option<bool> Opening = new("--opening")
    {
        Description = "It is what the account had in a database that was lost, not cash.",
    };

    public static Command Make() => new("payment", """
        Records payments made outside the web pages.

        Example:
          capsul payment record jo@example.org 20 --note "at the meeting"
        """)
    {
        CommandLine.Verb("record", """
            Records a cash payment. Creates the account if it does not exist.

            Example:
              capsul payment record jo@example.org 20
            """, RecordAsync, Email, Dollars, Note, Opening),
    };

    static async Task<int> RecordAsync(ParseResult parsed, CancellationToken cancel)
    {
        var text = parsed.GetValue(Dollars)!;
        if (!decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var dollars))
            throw new ProblemException(
                ProblemKind.Invalid, $"\"{text}\" is not an amount of dollars; write it as 20 or 12.50.");
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var payment = (await (parsed.GetValue(Opening)
            ? RecordCash.OpeningAsync(database.Db, "cli", parsed.GetValue(Email)!, dollars, parsed.GetValue(Note)!,
                TimeProvider.System, cancel)
            : RecordCash.RunAsync(database.Db, "cli", parsed.GetValue(Email)!, dollars, parsed.GetValue(Note)!,
                TimeProvider.System, cancel))).OrThrow();
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"Payment {payment}: {dollars:0.00} dollars for {parsed.GetValue(Email)}."));
        return 0;
    }
}
