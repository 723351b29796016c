using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul payment auto</c>: automatic top-up of accounts, for operators.</summary>
static class PaymentAuto
{
    static readonly Argument<string> Email = new("EMAIL") { Description = "Email address of the account." };

    static readonly Option<string> Why =
        new("--reason") { Description = "Why; kept in the audit lines.", Required = true };

    /// <summary>More are on the page.</summary>
    const int ShownAccounts = 1000;

    public static Command Make() => new("auto", """
        Shows which accounts have set up automatic top-up, and turns it off (docs/payments.md).

        Examples:
          capsul payment auto list
          capsul payment auto off jo@example.org --reason "asked by phone"
        """)
    {
        CommandLine.Verb("list", "Lists accounts that have set up automatic top-up, by their names.", ListAsync),
        CommandLine.Verb("off", """
            Turns automatic top-up of an account off. A charge that is written down already is carried through.
            """, OffAsync, Email, Why),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple);
        table.AddColumns("account", "state", "below", "charge", "cap", "this month", "problem");
        foreach (var r in await database.Db.ListAsync<AutoTopUpRow>(AutoTopUpSql.List,
            new { after = "", now = TimeProvider.System.GetUtcNow().UtcDateTime, limit = ShownAccounts }, cancel))
            table.AddRow([.. new[]
            {
                r.Email, r.Enabled ? "on" : "off", Show.Plain(r.Threshold),
                Show.Plain(r.Amount), Show.Plain(r.Cap),
                Show.Plain(r.Charged), OffReason.ProblemOf(r) ?? "",
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> OffAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var email = (await TurnOffAutoTopUp.ByOperatorAsync(database.Db, "cli", parsed.GetValue(Email),
            parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Automatic top-up of {email} is off.");
        return 0;
    }
}
