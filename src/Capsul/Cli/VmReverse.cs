using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.ReverseDns;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm reverse</c>: the names of the addresses of a VM.</summary>
static class VmReverse
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Argument<string> Address = new("ADDRESS") { Description = "A public address of the VM." };

    static readonly Argument<string> Name = new("NAME") { Description = "A full host name, such as mail.example.org." };

    public static Command Make() => new("reverse", """
        Names of the public addresses of a VM (reverse DNS), which the server in CAPSUL_DNS_SERVER is told. Its owner
        has the same as a page.

        Examples:
          capsul vm reverse list capsul-0123456789
          capsul vm reverse set capsul-0123456789 192.0.2.10 mail.example.org
          capsul vm reverse remove capsul-0123456789 192.0.2.10
        """)
    {
        CommandLine.Verb("list", "Lists the addresses of a VM with their names.", ListAsync, Id),
        CommandLine.Verb("set", "Gives an address a name; the DNS server is told within seconds.", SetAsync, Id,
            Address, Name),
        CommandLine.Verb("remove", "Takes the name of an address away.", RemoveAsync, Id, Address),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple).AddColumns("address", "name", "state");
        foreach (var row in await database.Db.ListAsync<ReverseNameRow>(
            ReverseNameSql.OfVm, new { id = parsed.GetValue(Id) }, cancel))
            table.AddRow(row.Address, row.Name, Markup.Escape(State(row)));
        Tables.Write(table);
        return 0;
    }

    static string State(ReverseNameRow row) => row.Problem.Length > 0 ? row.Problem
        : !row.Published ? "being published" : row.Name.Length > 0 ? "published" : "";

    static Task<int> SetAsync(ParseResult parsed, CancellationToken cancel) =>
        ChangeAsync(parsed, parsed.GetValue(Name), cancel);

    static Task<int> RemoveAsync(ParseResult parsed, CancellationToken cancel) => ChangeAsync(parsed, null, cancel);

    static async Task<int> ChangeAsync(ParseResult parsed, string? name, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var set = (await SetReverseName.RunAsync(database.Db, "cli", null, parsed.GetValue(Id)!,
            parsed.GetValue(Address), name, settings, cancel)).OrThrow();
        Console.WriteLine(set.Length > 0
            ? $"{parsed.GetValue(Address)} gets the name {set}." : $"{parsed.GetValue(Address)} has no name.");
        return 0;
    }
}
