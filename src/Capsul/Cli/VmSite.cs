using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Sites;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul vm site</c>: names of web servers of a VM.</summary>
static class VmSite
{
    static readonly Argument<string> Id = new("VM") { Description = "The VM's ID." };

    static readonly Argument<string> Name = new("NAME") { Description = "The part before CAPSUL_VM_DOMAIN." };

    static readonly Argument<string> Port = new("PORT") { Description = "The port of the web server in the VM." };

    public static Command Make() => new("site", """
        Names under CAPSUL_VM_DOMAIN at which web servers of a VM are reached. Its owner has the same as a page.

        Examples:
          capsul vm site list capsul-0123456789
          capsul vm site add capsul-0123456789 blog 80
          capsul vm site remove capsul-0123456789 blog
        """)
    {
        CommandLine.Verb("list", "Lists the names of a VM.", ListAsync, Id),
        CommandLine.Verb("add", "Gives a web server of a VM a name.", AddAsync, Id, Name, Port),
        CommandLine.Verb("remove", "Takes a name away; anybody may have it then.", RemoveAsync, Id, Name),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        foreach (var site in await database.Db.ListAsync<SiteRow>(
            SiteSql.OfVm, new { id = parsed.GetValue(Id) }, cancel))
            Console.WriteLine($"{site.Name}.{settings.VmDomain}: port {site.VmPort}");
        return 0;
    }

    static async Task<int> AddAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var site = (await AddSite.RunAsync(database.Db, "cli", null, parsed.GetValue(Id)!, parsed.GetValue(Name),
            parsed.GetValue(Port), settings, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"{site.Name}.{settings.VmDomain} leads to port {site.VmPort} of {site.Vm}.");
        return 0;
    }

    static async Task<int> RemoveAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = (await RemoveSite.RunAsync(
            database.Db, "cli", null, parsed.GetValue(Id)!, parsed.GetValue(Name), cancel)).OrThrow();
        Console.WriteLine($"{name} is free.");
        return 0;
    }
}
