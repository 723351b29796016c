using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Leadership;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul hub</c>: the Hub processes on one database.</summary>
static class HubVerb
{
    const int ClearedLines = 5;

    public static Command Make() => new("hub", """
        The Hub processes on this database: one is active, the others are on standby.

        Examples:
          capsul hub status
          capsul hub rebuild --from-spokes
        """)
    {
        CommandLine.Verb("status", """
            Lists every Hub process that is connected, with the one that acts first, and since when; then the open
            alerts, and the last ones that were cleared. Exit code 1 when none acts.

            Example:
              capsul hub status
            """, StatusAsync),
        HubRebuild.Make(),
    };

    static async Task<int> StatusAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var hubs = await database.Db.ListAsync<HubRow>(SeatSql.Hubs, new { key = SeatSql.LockKey }, cancel);
        var seat = await database.Db.FindSeatAsync(cancel);
        var table = new Table().Border(TableBorder.Simple).AddColumns("hub", "status", "epoch", "since");
        foreach (var hub in hubs)
        {
            table.AddRow(
                [.. new[] { hub.Name, hub.Acting ? "acting" : "standby", hub.Acting ? seat!.Epoch.ToString() : "",
                    (hub.Acting ? seat!.TakenAt : hub.Since).ToString("yyyy-MM-ddTHH:mm:ssZ") }.Select(Markup.Escape)]);
        }
        Tables.Write(table);
        foreach (var alert in await database.Db.ListAsync<AlertRow>(AlertSql.Open, null, cancel))
            Console.WriteLine($"alert since {alert.Raised:yyyy-MM-ddTHH:mm:ssZ}: {alert.Message}");
        foreach (var alert in await database.Db.ListAsync<ClearedAlertRow>(
            AlertSql.Cleared, new { limit = ClearedLines }, cancel))
            Console.WriteLine($"cleared, {alert.Raised:yyyy-MM-ddTHH:mm:ssZ} to {alert.Cleared:yyyy-MM-ddTHH:mm:ssZ}: "
                + alert.Message);
        if (await database.Db.FindAsync<OpenRebuildRow>(RebuildSql.FindOpen, null, cancel) is { } rebuild)
            Console.WriteLine($"A rebuild is open since {rebuild.Started:yyyy-MM-ddTHH:mm:ssZ}: hosts that it took in "
                + "get no wanted states. To end it: capsul hub rebuild --finish");
        if (hubs.Any(h => h.Acting)) return 0;
        Console.WriteLine(seat!.Holder.Length == 0 ? "No Hub is active, and none ever was."
            : $"No Hub is active. The last was {seat.Holder}, epoch {seat.Epoch}, "
                + $"since {seat.TakenAt:yyyy-MM-ddTHH:mm:ssZ}.");
        return 1;
    }
}
