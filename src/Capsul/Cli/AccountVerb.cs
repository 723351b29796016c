using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.FriendLinks;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary>
/// <c>capsul account</c>: links by which others pay, closing accounts, and the money that they had left.
/// </summary>
static class AccountVerb
{
    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };

    static readonly Argument<long> Number = new("N") { Description = "Number, from capsul account closings." };

    static readonly Argument<long> LinkNumber = new("N") { Description = "Number, from capsul account links." };

    static readonly Option<string?> ShownName =
        new("--name") { Description = "The name that others see.", HelpName = "TEXT", Required = true };

    static readonly Option<string?> Why =
        new("--reason") { Description = "Why; kept in the audit line.", HelpName = "TEXT" };

    static readonly Option<string?> RefundBy = new("--refund-by")
    {
        Description = "back: by the way it came, and what cannot, by hand (default). hand: all by hand.",
        HelpName = "WAY",
    };

    static readonly Option<bool> ToFund =
        new("--to-fund") { Description = "What is left goes to the solidarity fund, if the person wants that." };

    static readonly Option<string?> PayTo =
        new("--pay-to") { Description = "Where to send what is paid by hand, such as an IBAN.", HelpName = "TEXT" };

    static readonly Option<string?> By = new("--by")
    {
        Description = "How it was paid: same (by the way it came, the default), bank or cash.",
        HelpName = "WAY",
    };

    const int ShownRows = 1000;

    public static Command Make() => new("account", """
        Closes accounts, records what was paid back to their owners (docs/closing.md), and makes links by which others
        pay for them (docs/payments.md). Run on the Hub's machine.

        Examples:
          capsul account close jo@example.org --reason "asked by mail"
          capsul account closings
          capsul account paid 3 --by bank --reason "transfer of 2 March"
        """)
    {
        CommandLine.Verb("link", """
            Makes a link by which others pay into an account without signing in, and prints it. It is kept nowhere.
            """, LinkAsync, Email, ShownName),
        CommandLine.Verb("links", "Lists such links of an account, without their secrets.", LinksAsync, Email),
        CommandLine.Verb("unlink", "Such a link leads nowhere from now on.", UnlinkAsync, Email, LinkNumber),
        CommandLine.Verb("close", """
            Closes an account. Its owner is emailed, and it may be reopened for CAPSUL_CLOSING_DAYS; then its VMs are
            deleted, what is left of its money leaves, and it loses its name. A reason is required.
            """, CloseAsync, Email, RefundBy, ToFund, PayTo, Why),
        CommandLine.Verb("reopen", "An account that is being closed stays after all.", ReopenAsync, Email),
        CommandLine.Verb("closings", "Shows accounts that are being closed, and money that is to be paid by hand.",
            ListAsync),
        CommandLine.Verb("paid", """
            Records that money of a closed account was paid by hand. A reason is required.
            """, PaidAsync, Number, By, Why),
    };

    static async Task<int> LinkAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        Console.WriteLine((await MakeFriendLink.RunAsync(database.Db, Site.Link(settings, "/"), "cli",
            parsed.GetValue(Email), parsed.GetValue(ShownName), TimeProvider.System, cancel)).OrThrow());
        return 0;
    }

    static async Task<int> LinksAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("number", "name", "made", "payments", "received", "revoked");
        foreach (var f in await database.Db.ListAsync<FriendLinkRow>(
            FriendLinkSql.ListOf, new { email = parsed.GetValue(Email) }, cancel))
            Add(table, f.Id.ToString(CultureInfo.InvariantCulture), f.Name, Show.Date(f.Created),
                f.Payments.ToString(CultureInfo.InvariantCulture), Show.Dollars(f.Received),
                f.Revoked is { } at ? Show.Date(at) : "");
        Tables.Write(table);
        return 0;
    }

    static async Task<int> UnlinkAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var id = (await MakeFriendLink.RevokeAsync(database.Db, "cli", parsed.GetValue(Email),
            parsed.GetValue(LinkNumber), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Link {id} leads nowhere from now on.");
        return 0;
    }

    static async Task<int> CloseAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var money = parsed.GetValue(ToFund) ? ClosingMoney.Fund : parsed.GetValue(RefundBy);
        var due = (await CloseAccount.RunAsync(database.Db, settings, "cli", parsed.GetValue(Email),
            new CloseAccount.Input(null, money, parsed.GetValue(PayTo), parsed.GetValue(Why)), TimeProvider.System,
            cancel)).OrThrow();
        Console.WriteLine($"{parsed.GetValue(Email)} is being closed, and may be reopened until {Show.Time(due)}.");
        return 0;
    }

    static async Task<int> ReopenAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var email = (await ReopenAccount.RunAsync(
            database.Db, "cli", parsed.GetValue(Email), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{email} stays open.");
        return 0;
    }

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var page = new { after = 0L, limit = ShownRows };
        var closings = new Table().Border(TableBorder.Simple)
            .AddColumns("account", "state", "may be reopened until", "money", "asked by", "reason");
        foreach (var c in await database.Db.ListAsync<ClosingRow>(ClosingSql.ListOpen, page, cancel))
            Add(closings, c.Email, c.State, Show.Time(c.Due), c.Money, c.Actor, c.Reason);
        Tables.Write(closings);
        var payouts = new Table().Border(TableBorder.Simple)
            .AddColumns("number", "amount", "whose", "of payment", "came by", "state", "send to");
        foreach (var o in await database.Db.ListAsync<ClosingPayoutRow>(ClosingPayoutSql.ListToDo, page, cancel))
            Add(payouts, o.Id.ToString(CultureInfo.InvariantCulture), Show.Dollars(o.Amount),
                o.Contact.Length > 0 ? o.Contact : o.Email, o.Payment.ToString(CultureInfo.InvariantCulture),
                o.Method, o.State == "sent" ? "the provider is asked" : o.Late ? "came too late" : "to be paid",
                o.PayTo);
        Tables.Write(payouts);
        return 0;
    }

    static void Add(Table table, params string[] cells) => table.AddRow([.. cells.Select(Markup.Escape)]);

    static async Task<int> PaidAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var amount = (await PayOut.RunAsync(database.Db, "cli", parsed.GetValue(Number),
            parsed.GetValue(By) ?? PayOut.SameWay, parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{Show.Plain(amount)} is paid.");
        return 0;
    }
}
