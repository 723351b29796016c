using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Web;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul size</c>: what can be bought.</summary>
static class SizeVerb
{
    static readonly Argument<string> Name =
        new("NAME") { Description = "1 to 32 lower-case letters, digits and hyphens." };

    static readonly Option<string> Price = Required("--price", "What it costs a month at first.", "PRICE");

    static readonly Option<string> Cpus = Required("--cpus", "Number of CPUs.", "NUMBER");

    static readonly Option<string> Memory = Required("--memory", "Memory, in MiB.", "MIB");

    static readonly Option<string> Disk = Required("--disk", "Disk, in GiB.", "GIB");

    static Option<string> Required(string name, string description, string value) =>
        new(name) { Description = description, HelpName = value, Required = true };

    public static Command Make() => new("size", """
        Shows, adds and retires sizes (docs/prices.md). What a size consists of is never changed; what it costs is
        changed by capsul price set. Run on the Hub's machine.

        Examples:
          capsul size list
          capsul size add f2-s --price 8.50 --cpus 2 --memory 2048 --disk 40
          capsul size retire f1-s
        """)
    {
        CommandLine.Verb("list", "Shows all sizes: those on sale first, then those that are retired.", ListAsync),
        CommandLine.Verb("add", "Adds a size with its first price. It is on sale at once.", AddAsync, Name, Price, Cpus,
            Memory, Disk),
        CommandLine.Verb("retire", "Takes a size off sale. Capsuls that have it keep it.", RetireAsync, Name),
        CommandLine.Verb("offer", "Offers a retired size again, at the price that is in force.", OfferAsync, Name),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("size", "consists of", "a month", "capsuls", "state");
        foreach (var size in await database.Db.ListAsync<SizeLineRow>(
            SizeSql.ListAll, new { now = TimeProvider.System.GetUtcNow().UtcDateTime }, cancel))
            table.AddRow([.. new[]
            {
                size.Id, size.Shape.In(", "), Show.Dollars(size.DollarsPerMonth), $"{size.Vms}",
                size.Retired ? "retired" : "on sale",
            }.Select(Markup.Escape)]);
        Tables.Write(table);
        return 0;
    }

    static async Task<int> AddAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var name = (await ChangeSizes.AddAsync(database.Db, "cli", new ChangeSizes.Input(parsed.GetValue(Name),
            parsed.GetValue(Price), parsed.GetValue(Cpus), parsed.GetValue(Memory), parsed.GetValue(Disk)), settings,
            cancel)).OrThrow();
        Console.WriteLine($"{name} is now on sale.");
        return 0;
    }

    static Task<int> RetireAsync(ParseResult parsed, CancellationToken cancel) =>
        SetAsync(parsed, retired: true, "is no longer on sale", cancel);

    static Task<int> OfferAsync(ParseResult parsed, CancellationToken cancel) =>
        SetAsync(parsed, retired: false, "is on sale again", cancel);

    static async Task<int> SetAsync(ParseResult parsed, bool retired, string done, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = (await ChangeSizes.RetireAsync(database.Db, "cli", parsed.GetValue(Name), retired, cancel))
            .OrThrow();
        Console.WriteLine($"{name} {done}.");
        return 0;
    }
}
