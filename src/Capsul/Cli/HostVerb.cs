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

    public static Command Make() => new("host", """
        Manages the machines that run VMs. Run on the Hub's machine.

        Examples:
          capsul host invite rack1
          capsul host list
        """)
    {
        CommandLine.Verb("invite",
            "Prints a one-time token, valid for one hour, for a machine to join under this name.", InviteAsync, Name),
        CommandLine.Verb("list", "Lists all hosts.", ListAsync),
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
            db, actor, name, settings.LinkAddress ?? $"127.0.0.1:{settings.LinkPort}", authority.Fingerprint,
            TimeProvider.System, cancel)).OrThrow();
    }

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("host", "state", "online", "hypervisor", "VMs", "memory used", "of", "last seen", "problem");
        foreach (var host in await database.Db.ListAsync<HostRow>(HostSql.List, null, cancel))
        {
            table.AddRow([.. new[] { host.Id, host.State, host.Online ? "yes" : "no", host.Hypervisor,
                host.Vms.ToString(), $"{host.MemoryUsedMb} MiB", $"{host.MemoryMb} MiB",
                host.LastSeen?.ToString("yyyy-MM-ddTHH:mm:ssZ") ?? "never", host.Problem }.Select(Markup.Escape)]);
        }
        Tables.Write(table);
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
