using System.CommandLine;
using System.Globalization;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul ledger</c>: what it says, whether it is right, and all of it for other programs.</summary>
static class LedgerVerb
{
    const int ShownEntries = 30;

    static readonly Argument<string?> Email = new("EMAIL")
    {
        Description = "Email address of the account. Without it: the sums of all ledger accounts.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    static readonly Option<string> Form = MakeForm();

    static Option<string> MakeForm()
    {
        var option = new Option<string>("--format")
        {
            Description = "csv, or a journal of hledger or beancount.",
            DefaultValueFactory = _ => "csv",
            HelpName = "csv|hledger|beancount",
        };
        option.AcceptOnlyFromAmong([.. LedgerFormat.All.Keys]);
        return option;
    }

    public static Command Make() => new("ledger", """
        Shows, verifies and exports the ledger (docs/ledger.md), and compares it with payment providers. Only reconcile
        with --import changes anything in it.

        Examples:
          capsul ledger verify
          capsul ledger show jo@example.org
          capsul ledger export --format hledger > capsul.journal
        """)
    {
        CommandLine.Verb("verify", """
            Recomputes the ledger from its entries, payments and usage, and names each difference. Exits with 1 if there
            is one. Accounts whose usage has changed since it was posted are listed too; that is no difference: the next
            hour posts it as a correction.
            """, VerifyAsync),
        CommandLine.Verb("reconcile", $"""
            Compares what a payment provider lists with the database, and names each difference: payments since
            the backup that was restored, and payouts to the bank that are not in the ledger. Exits with 1 if one is
            left. The sums are kept for the page of the ledger. With --import the payments are added to the database,
            and the active Hub asks the provider what has become of them; payouts are booked from the provider's account
            to the bank's. Look at the list first: what was meanwhile recorded by hand would count twice.

            Examples:
              capsul ledger reconcile {PaymentProviders.Known[0].Name}
              capsul ledger reconcile {PaymentProviders.Known[0].Name} --since 2026-02-15 --import
            """, LedgerReconcile.RunAsync, LedgerReconcile.Provider, LedgerReconcile.Since, LedgerReconcile.Import),
        CommandLine.Verb("show", "Shows the sums of all ledger accounts, or the newest entries of one account.",
            ShowAsync, Email),
        CommandLine.Verb("export", """
            Writes all transactions to standard output, as they are at this moment.

            Examples:
              capsul ledger export --format csv > ledger.csv
              capsul ledger export --format hledger | hledger -f - check --strict
              capsul ledger export --format beancount > ledger.beancount && bean-check ledger.beancount
            """, ExportAsync, Form),
    };

    static async Task<int> VerifyAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var report = await VerifyLedger.RunAsync(database.Db, cancel);
        foreach (var difference in report.Differences) Console.WriteLine(difference);
        foreach (var account in report.Waiting)
            Console.WriteLine($"The usage of {account.Email} has changed since it was posted. The next hour corrects "
                + "it; if it does not, an alert will say so.");
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{report.Counts.Transactions} transactions, {report.Counts.Entries} entries: ") + report.Differences.Count
                switch
            { 0 => "all is right.", 1 => "1 difference.", var many => $"{many} differences." });
        return report.Differences.Count == 0 ? 0 : 1;
    }

    static async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple);
        if (parsed.GetValue(Email) is { } email)
        {
            var account = await database.Db.FindAsync<LedgerAccountRow>(
                LedgerPageSql.FindCustomer, new { email = email.ToLowerInvariant() }, cancel)
                ?? throw new ProblemException(ProblemKind.NotFound, $"{email} has no entries in the ledger.");
            table.AddColumns("transaction", "at", "what", "amount");
            foreach (var e in await database.Db.ListAsync<LedgerEntryRow>(LedgerPageSql.ListEntries,
                new { account = account.Id, after = 0L, limit = ShownEntries }, cancel))
                table.AddRow([.. new[]
                {
                    e.Transaction.ToString(CultureInfo.InvariantCulture), $"{e.At:yyyy-MM-ddTHH:mm:ssZ}", e.What,
                    Show.Plain(-e.Amount),
                }.Select(Markup.Escape)]);
        }
        else
        {
            table.AddColumns("type", "provider", "accounts", "sum");
            foreach (var s in await database.Db.ListAsync<LedgerSumRow>(VerifyLedgerSql.Sums, null, cancel))
                table.AddRow(s.Type, Markup.Escape(s.Name), s.Accounts.ToString(CultureInfo.InvariantCulture),
                    Show.Plain(s.Amount));
        }
        Tables.Write(table);
        return 0;
    }

    static async Task<int> ExportAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        await using var output = new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false), 1 << 16);
        await ExportLedger.RunAsync(database.Db, LedgerFormat.All[parsed.GetValue(Form)!], output, cancel);
        return 0;
    }
}
