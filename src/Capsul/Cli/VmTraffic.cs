using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Traffic;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm traffic</c>: what has gone through the network card of a VM.</summary>
static class VmTraffic
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    public static Command Make() => CommandLine.Verb("traffic", """
        Lists the traffic of a VM by month (UTC), bytes as the VM sees them. Its owner has the same as a page.

        Examples:
          capsul vm traffic capsul-0123456789
        """, ListAsync, Id);

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple).AddColumns("month", "received", "sent");
        foreach (var month in await database.Db.ListAsync<TrafficRow>(
            TrafficSql.Months, new { id = parsed.GetValue(Id), email = (string?)null }, cancel))
            table.AddRow(month.Month.ToString("yyyy-MM", CultureInfo.InvariantCulture), $"{month.Received}",
                $"{month.Sent}");
        Tables.Write(table);
        return 0;
    }
}
