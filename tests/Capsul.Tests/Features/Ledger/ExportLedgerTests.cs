using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Ledger;

/// <summary>The programs that the exports are for accept them, and come to the same sums.</summary>
public sealed class ExportLedgerTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<string> ExportAsync(VmRows rows, string format, string name)
    {
        var file = Path.Combine(TestFolder.Make("ledger"), name);
        await using (var output = new StreamWriter(file))
            await ExportLedger.RunAsync(rows.Db, LedgerFormat.All[format], output, Cancel);
        return file;
    }

    [Fact]
    public async Task Hledger_accepts_the_journal_strictly_and_has_our_sums()
    {
        await using var rows = await VerifyLedgerTests.UsedAsync();
        var journal = await ExportAsync(rows, "hledger", "capsul.journal");
        await RunAsync("hledger", "-f", journal, "check", "--strict");
        var balances = await RunAsync("hledger", "-f", journal, "balance", "--flat", "--no-total", "-O", "csv");
        balances.ShouldContain("\"assets:cash\",\"100.00 USD\"");
        balances.ShouldContain("\"liabilities:to be assigned\",\"12.50 USD\"");
        var posted = await rows.Db.AskAsync<decimal>(
            "SELECT posted FROM account_totals WHERE email = @email", new { email = VmRows.Email }, Cancel);
        balances.ShouldContain($"\"liabilities:customers:1000\",\"-{posted} USD\"");
    }

    [Fact]
    public async Task Bean_check_accepts_the_file()
    {
        await using var rows = await VerifyLedgerTests.UsedAsync();
        var file = await ExportAsync(rows, "beancount", "capsul.beancount");
        (await RunAsync("bean-check", file)).ShouldBeEmpty();
        (await File.ReadAllTextAsync(file, Cancel)).ShouldContain("  Liabilities:ToBeAssigned  12.50 USD\n");
    }

    [Fact]
    public async Task Csv_has_a_line_for_each_entry()
    {
        await using var rows = await VerifyLedgerTests.UsedAsync();
        var lines = await File.ReadAllLinesAsync(await ExportAsync(rows, "csv", "ledger.csv"), Cancel);
        lines.Length.ShouldBe(1 + (int)await rows.Db.AskAsync<long>(
            "SELECT count(*) FROM ledger_entries", null, Cancel));
        lines[0].Split(',').Length.ShouldBe(15);
        lines.ShouldAllBe(l => l.Split(',').Length == 15);
        lines[1].ShouldContain(",payment,1,,1,2,cash,,,100.00,USD,,false");
    }

    static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var result = await new Command(program, arguments).TryRunAsync(Cancel);
        result.ExitCode.ShouldBe(0, result.Output + result.Error);
        return result.Output;
    }
}
