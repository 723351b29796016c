using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Addresses;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm address</c>: the IPv4 addresses that a VM has besides its first.</summary>
static class VmAddress
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Argument<string> Address = new("ADDRESS") { Description = "A further address of the VM." };

    public static Command Make() => new("address", """
        Further public IPv4 addresses of a VM, from the pool of its host. Each costs what capsul price set ipv4-address
        says (docs/prices.md); without a price none is offered. Its owner has the same as a page.

        Examples:
          capsul vm address list capsul-0123456789
          capsul vm address add capsul-0123456789
          capsul vm address remove capsul-0123456789 198.51.100.11
        """)
    {
        CommandLine.Verb("list", "Lists the IPv4 addresses of a VM, and what the further ones cost a month.", ListAsync,
            Id),
        CommandLine.Verb("add", """
            Gives a VM another address, which its owner pays for, and prints how the guest uses it.
            """, AddAsync, Id),
        CommandLine.Verb("remove", "Takes a further address from a VM. It cools down before another one gets it.",
            RemoveAsync, Id, Address),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var id = parsed.GetValue(Id);
        var vm = await database.Db.FindAsync<VmRow>(MoveSql.FindVm, new { id }, cancel)
            ?? throw new ProblemException(ProblemKind.NotFound, $"There is no VM {id}.");
        var table = new Table().Border(TableBorder.Simple).AddColumns("address", "a month", "since");
        table.AddRow(vm.Address ?? "", "", $"{vm.Created:yyyy-MM-ddTHH:mm:ssZ}");
        foreach (var row in await database.Db.ListAsync<VmAddressRow>(ExtraSql.OfVm, new { id }, cancel))
            table.AddRow(row.Address ?? "", Markup.Escape(Show.Dollars(row.DollarsPerMonth)),
                $"{row.Added:yyyy-MM-ddTHH:mm:ssZ}");
        Tables.Write(table);
        return 0;
    }

    static async Task<int> AddAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var id = parsed.GetValue(Id)!;
        var added = (await OrderAddress.RunAsync(
            database.Db, "cli", null, id, null, settings, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{id} has {added.Address}, for {Show.Dollars(added.DollarsPerMonth)} a month. Inside it:");
        Console.WriteLine($"  {ShowAddressesPage.Command(added.Address)}");
        return 0;
    }

    static async Task<int> RemoveAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var id = parsed.GetValue(Id)!;
        var removed = (await ReturnAddress.RunAsync(
            database.Db, "cli", null, id, parsed.GetValue(Address), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{id} no longer has {removed}.");
        return 0;
    }
}
