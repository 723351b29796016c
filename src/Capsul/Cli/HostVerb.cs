using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Link;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul host</c>: the machines that host VMs, as the Hub sees them.</summary>
static class HostVerb
{
    static readonly Argument<string> Name =
        new("NAME") { Description = "The host's name: lower-case letters, digits, hyphens." };

    static readonly Argument<string> NewName =
        new("NEW-NAME") { Description = "The name that it shall have." };

    static readonly Argument<string> Slots =
        new("SLOTS") { Description = $"A number from 1 to {SetBuildSlots.Most}, or {SetBuildSlots.Auto}." };

    static readonly Option<string?> Why =
        new("--reason") { Description = "Why; kept in the audit line.", HelpName = "TEXT" };

    static readonly Option<string?> To = new("--to")
    {
        Description = "The host that its VMs go to. Without it, any host with room.",
        HelpName = "HOST",
    };

    static readonly Option<bool> Force = new("--force")
    {
        Description = "The machine will never come back: its VMs are lost, and charged until it was last seen. Needs a "
            + "reason.",
    };

    public static Command Make() => new("host", """
        Manages the machines that run VMs. Run on the Hub's machine.

        Examples:
          capsul host invite rack1
          capsul host list
          capsul host drain rack1 --reason "new disks on Friday"
          capsul host remove rack1
        """)
    {
        CommandLine.Verb("invite",
            "Prints a one-time token, valid for one hour, for a machine to join under this name.", InviteAsync, Name),
        CommandLine.Verb("list", "Lists all hosts.", ListAsync),
        CommandLine.Verb("drain", "Places no new VMs on a host; those that are there stay. A reason is required.",
            DrainAsync, Name, Why),
        CommandLine.Verb("evacuate",
            "Drains a host, and moves its VMs away, two at a time, until none is left; undrain ends it. What cannot be "
            + "moved is an alert. A reason is required.", EvacuateAsync, Name, To, Why),
        CommandLine.Verb("undrain", "Places new VMs on a drained host again.", UndrainAsync, Name),
        CommandLine.Verb("rename",
            "Gives a host another name. Its Spoke reconnects with the same certificate; VMs keep running.",
            RenameAsync, Name, NewName),
        CommandLine.Verb("slots",
            "Sets how many VMs a host creates at a time; the others wait in a queue. auto: by its CPUs.",
            SetSlotsAsync, Name, Slots),
        CommandLine.Verb("remove",
            "Removes a host without VMs: revokes its certificate and forgets its addresses and images. The name may be "
            + "invited again.", RemoveAsync, Name, Force, Why),
        HostAdopt.Make(),
        CommandLine.Verb("revoke",
            "Revokes a host's certificate: it may not connect again. Its VMs become unknown.", RevokeAsync, Name),
        CommandLine.Verb("restore",
            "Lets a revoked host join again, with a new invitation. It keeps its VMs.", RestoreAsync, Name),
    };

    static async Task<int> InviteAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        Console.WriteLine(await InviteAsync(database.Db, settings, "cli", parsed.GetValue(Name)!, cancel));
        return 0;
    }

    public static async Task<JoinToken> InviteAsync(
        Db db, Settings settings, string actor, string name, CancellationToken cancel)
    {
        var ring = new KeyRing(db, await HubProgram.SecretKeyAsync(settings, cancel));
        using var authority = await Authority.OpenAsync(ring, TimeProvider.System, cancel);
        return (await InviteHost.RunAsync(
            db, actor, name, settings.LinkAddress ?? settings.LinkHere, authority.Fingerprint,
            TimeProvider.System, cancel)).OrThrow();
    }

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("host", "state", "online", "hypervisor", "VMs", "memory used", "of", "last seen", "problem");
        var all = new { after = "", search = "", limit = int.MaxValue };
        foreach (var host in await database.Db.ListAsync<ShownHostRow>(HostPageSql.List, all, cancel))
        {
            var state = host is { State: "joined", Accepts: false } ? "drained" : host.State;
            table.AddRow([.. new[] { host.Id, state, host.Online ? "yes" : "no", host.Hypervisor,
                host.Vms.ToString(), $"{host.MemoryUsedMb} MiB", $"{host.MemoryMb} MiB",
                host.LastSeen?.ToString("yyyy-MM-ddTHH:mm:ssZ") ?? "never", host.Problem }.Select(Markup.Escape)]);
        }
        Tables.Write(table);
        return 0;
    }

    static async Task<int> DrainAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = (await DrainHost.RunAsync(
            database.Db, "cli", parsed.GetValue(Name)!, parsed.GetValue(Why), cancel)).OrThrow();
        Console.WriteLine($"No new VMs are placed on {name}.");
        return 0;
    }

    static async Task<int> EvacuateAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = (await EvacuateHost.RunAsync(database.Db, "cli", parsed.GetValue(Name)!, parsed.GetValue(To),
            parsed.GetValue(Why), cancel)).OrThrow();
        Console.WriteLine($"{name} is being evacuated. Its page, and capsul operation list, show how far it is.");
        return 0;
    }

    static async Task<int> UndrainAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = (await UndrainHost.RunAsync(database.Db, "cli", parsed.GetValue(Name)!, cancel)).OrThrow();
        Console.WriteLine($"New VMs may be placed on {name} again.");
        return 0;
    }

    static async Task<int> RenameAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = parsed.GetValue(Name)!;
        var renamed = (await RenameHost.RunAsync(
            database.Db, "cli", name, parsed.GetValue(NewName), cancel)).OrThrow();
        Console.WriteLine($"{name} is {renamed} now.");
        return 0;
    }

    static async Task<int> SetSlotsAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var slots = parsed.GetValue(Slots)!;
        var name = (await SetBuildSlots.RunAsync(
            database.Db, "cli", parsed.GetValue(Name)!, slots, cancel)).OrThrow();
        Console.WriteLine($"{name} has {slots} build slots.");
        return 0;
    }

    static async Task<int> RemoveAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var name = parsed.GetValue(Name)!;
        var lost = (await RemoveHost.RunAsync(database.Db, "cli", name, parsed.GetValue(Force),
            parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine(lost == 0 ? $"{name} is removed." : $"{name} is removed; VMs lost: {lost}.");
        return 0;
    }

    static Task<int> RevokeAsync(ParseResult parsed, CancellationToken cancel) => ChangeAsync(
        parsed.GetValue(Name)!, HostSql.Revoke, "revoke_host",
        "There is no active host {0}.", "{0} is revoked.", cancel);

    static Task<int> RestoreAsync(ParseResult parsed, CancellationToken cancel) => ChangeAsync(
        parsed.GetValue(Name)!, HostSql.Restore, "restore_host",
        "There is no revoked host {0}.", "{0} may join again: capsul host invite {0}", cancel);

    static async Task<int> ChangeAsync(
        string name, string sql, string action, string refusal, string done, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        (await database.Db.DecideAsync<string>(async transaction =>
        {
            if (await transaction.ExecuteAsync(sql, new { id = name }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, string.Format(CultureInfo.InvariantCulture, refusal, name));
            await transaction.AuditAsync("cli", action, name, "", cancel);
            return name;
        }, cancel)).OrThrow();
        Console.WriteLine(string.Format(CultureInfo.InvariantCulture, done, name));
        return 0;
    }
}
