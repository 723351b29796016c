using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Ports;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm port</c>: the ports of a VM that are open to the outside.</summary>
static class VmPort
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Argument<string> Port = new("PORT")
    {
        Description = "The port of the VM, such as 80 or 51820/udp.",
    };

    static readonly Option<string> Via = new("--via")
    {
        Description = "host: a port of its host leads to it. hub: one of the Hub.",
        DefaultValueFactory = _ => OpenPort.ViaHost,
        HelpName = "WHOSE",
    };

    public static Command Make() => new("port", """
        Opens ports of a VM to the outside. Its owner has the same as a page.

        Examples:
          capsul vm port list capsul-0123456789
          capsul vm port open capsul-0123456789 80
          capsul vm port open capsul-0123456789 51820/udp
          capsul vm port close capsul-0123456789 80 --via hub
        """)
    {
        CommandLine.Verb("list", "Lists the open ports of a VM.", ListAsync, Id),
        CommandLine.Verb("open", "Opens a port, and prints which port of the host or the Hub leads to it.",
            OpenAsync, Id, Port, Via),
        CommandLine.Verb("close", "Closes a port. Connections through it end.", CloseAsync, Id, Port, Via),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("VM port", "via", "port", "opened", "bytes in", "bytes out");
        foreach (var port in await database.Db.ListAsync<PortRow>(
            PortSql.OfVm, new { id = parsed.GetValue(Id) }, cancel))
            table.AddRow($"{port.Inside}", port.Via, $"{port.Port}", $"{port.Opened:yyyy-MM-ddTHH:mm:ssZ}",
                $"{port.BytesIn}", $"{port.BytesOut}");
        Tables.Write(table);
        return 0;
    }

    static async Task<int> OpenAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var opened = (await OpenPort.RunAsync(database.Db, "cli", null, parsed.GetValue(Id)!, parsed.GetValue(Port),
            parsed.GetValue(Via), settings, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Port {opened.Port} of the {opened.Via} leads to port {opened.Inside} of {opened.Vm}.");
        return 0;
    }

    static async Task<int> CloseAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var port = (await ClosePort.RunAsync(database.Db, "cli", null, parsed.GetValue(Id)!, parsed.GetValue(Port),
            parsed.GetValue(Via), cancel)).OrThrow();
        Console.WriteLine($"Port {port} is closed.");
        return 0;
    }
}
