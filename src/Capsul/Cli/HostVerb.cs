using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Link;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul host</c>: the machines that host VMs, as the Hub sees them.</summary>
static class HostVerb
{
    static readonly Argument<string> Name = new("NAME") { Description = "The host's name: lower-case letters, digits, hyphens." };

    public static Command Make() => new("host", """
        The machines that host VMs, as the Hub sees them. Run on the Hub's machine.

        Examples:
          capsul host invite rack1
          capsul host list
        """)
    {
        CommandLine.Verb("invite", "Prints a one-time token, good for an hour, with which a machine joins under this name.", InviteAsync, Name),
        CommandLine.Verb("list", "Lists all hosts.", ListAsync),
        CommandLine.Verb("revoke", "Takes a host's certificate away: it may not connect again. Its VMs become unknown.", RevokeAsync, Name),
    };

    static async Task<int> InviteAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var ring = new KeyRing(database.Db, await HubProgram.SecretKeyAsync(settings, cancel));
        using var authority = await Authority.OpenAsync(ring, TimeProvider.System, cancel);
        var token = (await InviteHost.RunAsync(database.Db, "cli", parsed.GetValue(Name)!, settings.LinkAddress ?? $"127.0.0.1:{settings.LinkPort}",
            authority.Fingerprint, TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine(token);
        return 0;
    }

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple).AddColumns("host", "state", "online", "hypervisor", "VMs", "memory used", "of", "last seen", "problem");
        foreach (var host in await database.Db.ListAsync<HostRow>(HostSql.List, null, cancel))
        {
            table.AddRow([.. new[] { host.Id, host.State, host.Online ? "yes" : "no", host.Hypervisor, host.Vms.ToString(), $"{host.MemoryUsedMb} MB", $"{host.MemoryMb} MB",
                host.LastSeen?.ToString("yyyy-MM-ddTHH:mm:ssZ") ?? "never", host.Problem }.Select(Markup.Escape)]);
        }
        AnsiConsole.Write(table);
        return 0;
    }

    static async Task<int> RevokeAsync(ParseResult parsed, CancellationToken cancel)
    {
        var name = parsed.GetValue(Name)!;
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        (await database.Db.DecideAsync<string>(async transaction =>
        {
            if (await transaction.ExecuteAsync(HostSql.Revoke, new { id = name }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, $"There is no host {name} that could be revoked.");
            await transaction.AuditAsync("cli", "revoke_host", name, "", cancel);
            return name;
        }, cancel)).OrThrow();
        Console.WriteLine($"{name} is revoked.");
        return 0;
    }
}
