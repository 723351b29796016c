using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Vouchers;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul voucher</c>: codes that add to a balance once.</summary>
static class VoucherVerb
{
    static readonly Option<string?> Amount =
        new("--amount") { Description = "Of each, such as 10 or 7.50.", HelpName = "NUMBER", Required = true };

    static readonly Option<string?> Count =
        new("--count") { Description = $"How many, 1 to {CreateVouchers.MaxCount}; default 1.", HelpName = "NUMBER" };

    static readonly Option<string?> Expires = new("--expires")
    {
        Description = "The first day on which they are worth nothing, in UTC, such as 2027-01-31.",
        HelpName = "DATE",
    };

    static readonly Option<string?> For =
        new("--for") { Description = "The only account that may redeem them.", HelpName = "EMAIL" };

    static readonly Option<string?> Note =
        new("--note") { Description = "Kept with the vouchers, for operators.", HelpName = "TEXT" };

    static readonly Argument<long> Number = new("N") { Description = "Number, from capsul voucher list." };

    /// <summary>The newest ones.</summary>
    const int ShownVouchers = 1000;

    public static Command Make() => new("voucher", """
        Makes codes that people redeem on the page to add money, once each (docs/vouchers.md). Run on the Hub's machine.

        Examples:
          capsul voucher create --amount 10 --count 20 --expires 2027-01-31 --note "summer party"
          capsul voucher list
          capsul voucher withdraw 7
        """)
    {
        CommandLine.Verb("create", """
            Makes vouchers, and prints their codes, one a line. The codes are kept nowhere: they cannot be shown again.
            """, CreateAsync, Amount, Count, Expires, For, Note),
        CommandLine.Verb("list", "Lists the newest vouchers, without their codes.", ListAsync),
        CommandLine.Verb("withdraw", "A voucher that nobody has redeemed is worth nothing from now on.",
            WithdrawAsync, Number),
    };

    static async Task<int> CreateAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var input = new CreateVouchers.Input(parsed.GetValue(Amount), parsed.GetValue(Count), parsed.GetValue(Expires),
            parsed.GetValue(For), parsed.GetValue(Note));
        foreach (var code in (await CreateVouchers.RunAsync(
            database.Db, settings, "cli", input, TimeProvider.System, cancel)).OrThrow())
            Console.WriteLine(code);
        return 0;
    }

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var now = TimeProvider.System.GetUtcNow().UtcDateTime;
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("number", "begins with", "amount", "state", "expires", "for", "redeemed by", "note");
        foreach (var v in await database.Db.ListAsync<VoucherRow>(
            VoucherSql.List, new { after = 0L, limit = ShownVouchers }, cancel))
            table.AddRow([.. new[]
            {
                v.Id.ToString(CultureInfo.InvariantCulture), v.Hint, Show.Dollars(v.Amount), v.StateAt(now),
                v.Expires is { } end ? Show.Date(end) : "", v.ForEmail, v.RedeemedBy ?? "", v.Note,
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> WithdrawAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var amount = (await WithdrawVoucher.RunAsync(
            database.Db, "cli", parsed.GetValue(Number), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Withdrew voucher {parsed.GetValue(Number)} of {Show.Dollars(amount)}.");
        return 0;
    }
}
