using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul payment</c>: money that was received outside the web pages.</summary>
static class PaymentVerb
{
    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };
    static readonly Argument<string> Amount = new("AMOUNT") { Description = "Such as 20 or 12.50." };
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

    static readonly Option<bool> Problems = new("--problems") { Description = "Only those with a problem." };
    static readonly Argument<long> Number = new("N") { Description = "Number, from capsul payment list." };
    static readonly Argument<long> RefundNumber = new("N") { Description = "Number, from capsul payment refunds." };
    static readonly Option<string?> Part = new("--amount") { Description = "A part of it; without it, all." };
    static readonly Option<string> Why =
        new("--reason") { Description = "Why; kept in the audit lines.", Required = true };

    /// <summary>The newest ones.</summary>
    const int ShownPayments = 100;

    public static Command Make() => new("payment", """
        Records payments made outside the web pages, shows those made through a provider, and sends money back
        (docs/payments.md).

        Example:
          capsul payment record jo@example.org 20 --note "at the meeting"
        """)
    {
        CommandLine.Verb("list", "Lists the newest payments through providers.", ListAsync, Problems),
        CommandLine.Verb("import", """
            Takes in what a bank says has arrived: CAMT.053, or a CSV with the columns date, amount, payer, message and
            reference. Lines that are known are left out. Nothing is booked: look at what is printed, or at
            /operator/bank, and then book those with the reference code of an account, up to the last line that you
            have looked at, with --book.

            Examples:
              capsul payment import statement.xml
              capsul payment import statement.xml --book 17
            """, PaymentImport.RunAsync, PaymentImport.StatementFile, PaymentImport.Book),
        CommandLine.Verb("refund", """
            Sends a payment that was made through a provider back by the way it came. The amount is no longer spendable
            at once; the active Hub tells the provider.

            Example:
              capsul payment refund 12 --amount 5 --reason "asked by mail"
            """, RefundAsync, Number, Part, Why),
        CommandLine.Verb("refunds", """
            Lists what was sent back of a payment through a provider. Bitcoin has to be claimed by whoever paid: what is
            listed has the page for that.
            """, RefundsAsync, Number),
        CommandLine.Verb("withdraw", """
            Withdraws a refund that has to be claimed: what was not claimed counts for the account again.

            Example:
              capsul payment withdraw 3 --reason "paid in cash"
            """, WithdrawAsync, RefundNumber, Why),
        PaymentAuto.Make(),
        CommandLine.Verb("record", """
            Records a cash payment. Creates the account if it does not exist.

            Example:
              capsul payment record jo@example.org 20
            """, RecordAsync, Email, Amount, Note, Opening),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple);
        table.AddColumns("number", "begun", "account", "provider", "state", "amount", "arrived", "counts", "problem");
        var sql = parsed.GetValue(Problems) ? ProviderPaymentSql.ListProblems : ProviderPaymentSql.ListAll;
        foreach (var p in await database.Db.ListAsync<ProviderPaymentRow>(
            sql, new { after = 0L, limit = ShownPayments }, cancel))
            table.AddRow([.. new[]
            {
                p.Id.ToString(CultureInfo.InvariantCulture), $"{p.Created:yyyy-MM-ddTHH:mm:ssZ}", p.Email, p.Provider,
                ListProviderPaymentsPage.StateOf(p), Show.Plain(p.Amount),
                p.Received.ToString(CultureInfo.InvariantCulture), Show.Plain(p.Counts),
                p.Problem,
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> RefundAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var amount = (await RefundPayment.RunAsync(database.Db, settings, "cli", parsed.GetValue(Number),
            parsed.GetValue(Part), parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{Show.Plain(amount)} of payment {parsed.GetValue(Number)} is being sent back.");
        return 0;
    }

    static async Task<int> RefundsAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple);
        table.AddColumns("number", "begun", "amount", "sent", "state", "page", "problem");
        foreach (var r in await database.Db.ListAsync<ProviderRefundRow>(
            ProviderRefundSql.OfPayment, new { payment = parsed.GetValue(Number) }, cancel))
            table.AddRow([.. new[]
            {
                r.Id.ToString(CultureInfo.InvariantCulture), $"{r.Created:yyyy-MM-ddTHH:mm:ssZ}",
                Show.Plain(r.Amount), Show.Plain(r.Sent),
                OperatePaymentPage.StateOf(r), r.Url, r.Problem,
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> WithdrawAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var payment = (await WithdrawRefund.RunAsync(database.Db, "cli", parsed.GetValue(RefundNumber),
            parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"Refund {parsed.GetValue(RefundNumber)} of payment {payment} is being withdrawn."));
        return 0;
    }

    static async Task<int> RecordAsync(ParseResult parsed, CancellationToken cancel)
    {
        var text = parsed.GetValue(Amount)!;
        if (!decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var dollars))
            throw new ProblemException(
                ProblemKind.Invalid, $"\"{text}\" is not an amount; write it as 20 or 12.50.");
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var payment = (await (parsed.GetValue(Opening)
            ? RecordCash.OpeningAsync(database.Db, "cli", parsed.GetValue(Email)!, dollars, parsed.GetValue(Note)!,
                TimeProvider.System, cancel)
            : RecordCash.RunAsync(database.Db, "cli", parsed.GetValue(Email)!, dollars, parsed.GetValue(Note)!,
                TimeProvider.System, cancel))).OrThrow();
        Console.WriteLine($"Payment {payment}: {Show.Dollars(dollars)} for {parsed.GetValue(Email)}.");
        return 0;
    }
}
