using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Bank;
using Capsul.Hub.Web;
using Spectre.Console;

namespace Capsul.Cli;

/// <summary><c>capsul payment import</c>.</summary>
static class PaymentImport
{
    public static readonly Argument<string> StatementFile = new("FILE") { Description = "File of the bank." };

    public static readonly Option<long?> Book = new("--book")
    {
        Description = "Record a payment for each line that waits and has the code of an account, up to this one: the "
            + "last that was looked at.",
        HelpName = "LINE",
    };

    const int ShownLines = 1000;

    public static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        var file = await ReadAsync(parsed.GetValue(StatementFile)!, cancel);
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var report = (await ImportStatement.RunAsync(
            database.Db, settings, "cli", file, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{report.New} new lines, {report.Known} known, {report.Passed} not incoming or not booked, "
            + $"{report.Foreign} in another currency.");
        var lines = await database.Db.ListAsync<BankLineRow>(BankLineSql.ListOpen, new { limit = ShownLines }, cancel);
        Tables.Write(TableOf(lines));
        if (parsed.GetValue(Book) is { } last)
        {
            var booked = (await BookBankLine.AssignMatchedAsync(
                database.Db, "cli", last, TimeProvider.System, cancel)).OrThrow();
            Console.WriteLine($"{booked} payments recorded.");
        }
        else if (lines.LastOrDefault(l => l is { State: "waiting", Email: not null }) is { } matched)
            Console.WriteLine("To record payments for those with the code of an account, after a look: "
                + $"capsul payment import {parsed.GetValue(StatementFile)} --book {matched.Id}");
        return 0;
    }

    static Table TableOf(IReadOnlyList<BankLineRow> lines)
    {
        var table = new Table().Border(TableBorder.Simple);
        table.AddColumns("line", "booked", "amount", "payer", "message", "state", "account");
        foreach (var line in lines)
            table.AddRow([.. new[]
            {
                line.Id.ToString(CultureInfo.InvariantCulture), $"{line.Booked:yyyy-MM-dd}",
                Show.Plain(line.Amount), line.Payer, line.Message, line.State,
                line.Email ?? "",
            }.Select(Markup.Escape)]);
        return table;
    }

    static async Task<byte[]> ReadAsync(string path, CancellationToken cancel)
    {
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > BankFile.MaxBytes })
                throw new ProblemException(BankFile.Read(new byte[BankFile.MaxBytes + 1]).Problem!);
            return await File.ReadAllBytesAsync(path, cancel);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(ProblemKind.NotFound, $"{path} cannot be read: {error.Message}", null, error);
        }
    }
}
