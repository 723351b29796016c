using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul hub rebuild</c>: a lost database from the recovery records of the Spokes.</summary>
static class HubRebuild
{
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(500);

    static readonly Option<bool> FromSpokes =
        new("--from-spokes") { Description = "Open the rebuild and wait for the Spokes." };
    static readonly Option<int> Wait = new("--wait")
    {
        Description = "How long to wait for Spokes; 0 only opens the rebuild, and Hubs take them in.",
        DefaultValueFactory = _ => 60,
        HelpName = "SECONDS",
    };
    static readonly Option<bool> Finish =
        new("--finish") { Description = "End the rebuild: Hubs send wanted states to the hosts that were taken in." };

    public static Command Make() => CommandLine.Verb("rebuild", """
        Rebuilds a lost database of which there is no backup: accounts, VMs, addresses, prices and SSH keys, from the
        signed recovery records that each Spoke keeps. Payments are not among them: balances begin at zero. VMs keep
        running. The data folder must have its secret.key and hub/recovery.json. Until --finish, no Hub sends anything
        to the hosts that were taken in. Hosts that were away can be added later in the same way; what the database has
        already is never changed.

        Examples:
          capsul hub rebuild --from-spokes --wait 300
          capsul hub rebuild --finish
        """, RunAsync, FromSpokes, Wait, Finish);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var (open, wait, finish) = (parsed.GetValue(FromSpokes), parsed.GetValue(Wait), parsed.GetValue(Finish));
        if ((!open && !finish) || wait < 0)
            throw new ProblemException(ProblemKind.Invalid,
                "Say --from-spokes, --finish or both, and wait for zero or more seconds. See: capsul hub rebuild "
                + "--help");
        var settings = Settings.Load();
        if (open && wait > 0 && HubUser.IsNeeded(settings))
            HubUser.Become(await HubUser.PrepareAsync(settings,
                ["hub", "rebuild", "--from-spokes", "--wait", wait.ToString(), .. finish ? new[] { "--finish" } : []],
                cancel));
        await using var database = await CliDatabase.ConnectAsync(settings, cancel);
        var db = database.Db;
        if (open) await OpenAsync(db, settings, cancel);
        if (await db.FindAsync<OpenRebuildRow>(RebuildSql.FindOpen, null, cancel) is not { } rebuild)
            throw new ProblemException(ProblemKind.Conflict, "No rebuild is open.");
        if (open && wait > 0) await AwaitAsync(db, settings, rebuild, TimeSpan.FromSeconds(wait), cancel);
        await ShowAsync(db, rebuild, cancel);
        if (finish) await RebuildDatabase.FinishAsync(db, TimeProvider.System, cancel);
        Console.WriteLine(finish ? "The rebuild is finished: Hubs manage these VMs again. Start them: capsul up"
            : "The rebuild is open: these hosts get no wanted states yet. Compare the list, then: "
                + "capsul hub rebuild --finish");
        return 0;
    }

    static async Task OpenAsync(Db db, Settings settings, CancellationToken cancel)
    {
        if (settings.SecretKey is null && new FileInfo(Path.Combine(settings.Data, "secret.key")) is not
            { Exists: true, Length: > 0 })
            throw new ProblemException(ProblemKind.NotFound,
                "secret.key is missing in the data folder, with which the key ring was encrypted. Copy it there, or "
                + "set CAPSUL_SECRET_KEY.");
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Information));
        await new SchemaUpgrade(db, settings, patient: false, logs.CreateLogger("Capsul.Cli"))
            .ToAsync(Migrator.DesiredVersion, allowDowngrade: false, cancel);
        var ring = new KeyRing(db, await HubProgram.SecretKeyAsync(settings, cancel));
        await RebuildDatabase.OpenAsync(db, ring, settings, TimeProvider.System, cancel);
    }

    /// <summary>
    /// Until every host that is known from before has come, or the time is over. A Hub that is active takes them in; if
    /// none is, one runs here meanwhile.
    /// </summary>
    static async Task AwaitAsync(
        Db db, Settings settings, OpenRebuildRow rebuild, TimeSpan wait, CancellationToken cancel)
    {
        var hubs = await db.ListAsync<HubRow>(SeatSql.Hubs, new { key = SeatSql.LockKey }, cancel);
        await using var hub = hubs.Any(h => h.Acting) ? null
            : await HubProgram.StartAsync(settings, TimeProvider.System, Logs.At(LogLevel.Information), cancel);
        await Console.Error.WriteLineAsync($"Waiting for Spokes, at most {wait.TotalSeconds:0} s.");
        var began = TimeProvider.System.GetTimestamp();
        while (TimeProvider.System.GetElapsedTime(began) < wait)
        {
            var hosts = (await db.ListAsync<RebuiltHostRow>(RebuildSql.Hosts, new { rebuild = rebuild.Id }, cancel))
                .Select(h => h.Host).ToHashSet(StringComparer.Ordinal);
            if (rebuild.Expected.Count > 0 && rebuild.Expected.All(hosts.Contains)) return;
            await Task.Delay(LookEvery, cancel);
        }
    }

    static async Task ShowAsync(Db db, OpenRebuildRow rebuild, CancellationToken cancel)
    {
        var hosts = await db.ListAsync<RebuiltHostRow>(RebuildSql.Hosts, new { rebuild = rebuild.Id }, cancel);
        var table = new Table().Border(TableBorder.Simple).AddColumns("host", "VMs", "notes");
        foreach (var host in hosts)
            table.AddRow([.. new[] { host.Host, host.Vms.ToString(), host.Notes }.Select(Markup.Escape)]);
        foreach (var away in rebuild.Expected.Except(hosts.Select(h => h.Host), StringComparer.Ordinal))
            table.AddRow(Markup.Escape(away), "", "has not come");
        Tables.Write(table);
        Console.WriteLine("Charging begins when each VM is observed again; the time before is free. Payments are not "
            + "on the Spokes, so balances begin at zero; to record one again: capsul payment record EMAIL AMOUNT");
        Console.WriteLine("Nor are receipts: if customers have some, say with which number to go on: "
            + "capsul receipt continue-at N --reason TEXT");
    }
}
