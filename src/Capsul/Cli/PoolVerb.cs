using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Pools;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul pool</c>: the addresses that VMs get.</summary>
static class PoolVerb
{
    static readonly Argument<string> Host = new("HOST") { Description = "The host whose pools they are." };

    static readonly Argument<string> Range =
        new("RANGE") { Description = "An address, or two with a hyphen: 10.77.0.5-10.77.0.9." };

    static readonly Argument<string> Hours =
        new("HOURS") { Description = $"A number from 0 to {SetCoolDown.MostHours}." };

    static readonly Option<string?> Why =
        new("--reason") { Description = "Why; kept with the addresses and in the audit line.", HelpName = "TEXT" };

    public static Command Make() => new("pool", """
        Shows and changes the address pools. Each host has one for IPv4 (CAPSUL_VM_NETWORK) and one for IPv6
        (CAPSUL_VM_NETWORK6), as its Spoke reports them. Run on the Hub's machine.

        Examples:
          capsul pool list
          capsul pool reserve rack1 10.77.0.2-10.77.0.9 --reason "printers"
          capsul pool cool-down rack1 24
        """)
    {
        CommandLine.Verb("list", "Lists all pools, and how many addresses are used and free.", ListAsync),
        CommandLine.Verb("show", "Shows a host's pools and its reserved addresses.", ShowAsync, Host),
        CommandLine.Verb("reserve",
            "Keeps addresses of a host from new VMs; one that has one keeps it. A reason is required.",
            ReserveAsync, Host, Range, Why),
        CommandLine.Verb("release", "Lets VMs have reserved addresses again.", ReleaseAsync, Host, Range),
        CommandLine.Verb("cool-down",
            "Sets how long an address of a host is not used again after its VM is gone, in hours.",
            SetCoolDownAsync, Host, Hours),
    };

    static DateTime Now => TimeProvider.System.GetUtcNow().UtcDateTime;

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        Write(await database.Db.ListAsync<PoolRow>(
            PoolSql.List, new { after = "", limit = int.MaxValue, now = Now }, cancel));
        return 0;
    }

    static async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var host = parsed.GetValue(Host)!;
        var pools = await database.Db.ListAsync<PoolRow>(PoolSql.OfHost, new { host, now = Now }, cancel);
        if (pools.Count == 0)
            throw new ProblemException(ProblemKind.NotFound, $"There is no pool of a host {host}.");
        Write(pools);
        foreach (var address in await database.Db.ListAsync<ReservedAddressRow>(
            AddressSql.Reserved, new { host }, cancel))
            Console.WriteLine($"{address.Address} is reserved: {address.Reason}"
                + (address.Vm.Length > 0 ? $" (still used by {address.Vm})" : ""));
        return 0;
    }

    static async Task<int> ReserveAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var count = (await ReserveAddresses.RunAsync(database.Db, "cli", parsed.GetValue(Host)!,
            parsed.GetValue(Range), parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Reserved addresses: {count}.");
        return 0;
    }

    static async Task<int> ReleaseAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var count = (await ReserveAddresses.ReleaseAsync(database.Db, "cli", parsed.GetValue(Host)!,
            parsed.GetValue(Range), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Released addresses: {count}.");
        return 0;
    }

    static async Task<int> SetCoolDownAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var hours = (await SetCoolDown.RunAsync(database.Db, "cli", parsed.GetValue(Host)!,
            parsed.GetValue(Hours), cancel)).OrThrow();
        Console.WriteLine($"Addresses cool down for {hours} h.");
        return 0;
    }

    static void Write(IReadOnlyList<PoolRow> pools)
    {
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("host", "network", "kind", "gateway", "used", "free", "reserved", "cooling down", "cool-down");
        foreach (var pool in pools)
            table.AddRow([.. new[] { pool.Host, pool.Network, pool.Kind, pool.Gateway, $"{pool.Used}", $"{pool.Free}",
                $"{pool.Reserved}", $"{pool.Cooling}", $"{pool.CoolDownSeconds / 3600} h" }.Select(Markup.Escape)]);
        Tables.Write(table);
    }
}
