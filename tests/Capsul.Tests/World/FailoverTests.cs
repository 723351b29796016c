using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Checks;
using Capsul.Spoke.Images;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// A Hub on a real PostgreSQL cluster (etcd, Patroni, two servers) whose leader is killed while people pay and create
/// VMs.
/// </summary>
public sealed class FailoverTests
{
    const int Payers = 3;
    static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_leader_is_killed_under_load_and_the_hub_continues_without_losing_anything()
    {
        await using var cluster = await PatroniCluster.StartAsync();
        var environment = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("failover"),
            ["CAPSUL_DATABASE"] = cluster.ConnectionString,
            ["CAPSUL_ENVIRONMENT"] = "development",
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_MAX_VMS"] = "1000",
            ["CAPSUL_BUILD_SLOTS"] = "1000",
            ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
            ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
        };
        await MakeImageAsync(Path.Combine(environment["CAPSUL_DATA"], "images"));
        var hub = new Uri($"http://127.0.0.1:{environment["CAPSUL_PORT"]}/");
        await using var program = CapsulProgram.Start(environment, "up");
        await program.AwaitSaidAsync("active Hub (epoch 1)", Limit);
        await program.AwaitSaidAsync("Capsul is running at", Limit);

        using var enough = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var paid = new ConcurrentBag<(string Email, decimal Dollars)>();
        var created = new ConcurrentBag<string>();
        var load = new List<Task>();
        using var maker = await SignInAsync(hub, "maker@example.org", "192.0.2.1");
        load.Add(CreateAsync(maker, created, enough.Token));
        var doors = new List<FrontDoor>();
        for (var number = 0; number < Payers; number++)
        {
            doors.Add(await SignInAsync(hub, $"payer{number}@example.org", $"192.0.2.{number + 2}"));
            load.Add(PayAsync(doors[number], $"payer{number}@example.org", paid, enough.Token));
        }
        await Until.TrueAsync(
            "payments arrive and VMs are created", Limit, () => Task.FromResult(paid.Count > 60 && created.Count > 5));

        await using (var healthy = new Db(cluster.ConnectionString))
            (await new DatabaseChecks(healthy, TimeProvider.System).RunAsync(Cancel))
                .Where(f => f.What == "replica").ShouldHaveSingleItem().Says.ShouldContain(", streaming, sync, ");

        var leader = (await cluster.LeaderAsync())!;
        await cluster.KillAsync(leader);
        await Until.TrueAsync(
            "another leads", Limit, async () => await cluster.LeaderAsync() is { } now && now != leader);
        var (payments, vms, clock) = (paid.Count, created.Count, Stopwatch.StartNew());
        await Until.TrueAsync("the Hub is active, and payments and VMs are accepted again", Limit, async () =>
            await StatusAsync(hub) == "acting" && paid.Count > payments && created.Count > vms);
        TestContext.Current.TestOutputHelper!.WriteLine($"{clock.Elapsed.TotalSeconds:0.0} s after the new leader; "
            + $"{paid.Count} payments and {created.Count} VMs acknowledged");
        await enough.CancelAsync();
        await Task.WhenAll(load);
        doors.ForEach(d => d.Dispose());

        await using var db = new Db(cluster.ConnectionString);
        var there = (await db.ListAsync<PaymentLine>("SELECT email, dollars FROM payments", null, Cancel))
            .GroupBy(p => (p.Email, p.Dollars)).ToDictionary(g => g.Key, g => g.Count());
        paid.Where(p => there.GetValueOrDefault(p) != 1)
            .ShouldBeEmpty("each acknowledged payment exists exactly once");
        created.Except(await db.ListAsync<string>("SELECT id FROM vms", null, Cancel), StringComparer.Ordinal)
            .ShouldBeEmpty("each acknowledged VM exists");
        var last = created.First();
        await Until.TrueAsync("operations continue", Limit, async () =>
            await db.FindAsync<string>("SELECT state FROM vms WHERE id = @last", new { last }, Cancel) == "running");
    }

    sealed record PaymentLine(string Email, decimal Dollars);

    /// <summary>
    /// One after another: a sign-in uses the newest development email. Each from its own client address, to stay below
    /// the rate limit.
    /// </summary>
    static async Task<FrontDoor> SignInAsync(Uri hub, string email, string address)
    {
        var door = new FrontDoor(hub, address);
        await door.SignInAsync(email, Cancel);
        return door;
    }

    /// <summary>Pays repeatedly, a different amount each time; acknowledged payments are recorded.</summary>
    static async Task PayAsync(
        FrontDoor door, string email, ConcurrentBag<(string, decimal)> paid, CancellationToken enough)
    {
        for (var cents = 500; !enough.IsCancellationRequested; cents++)
        {
            var dollars = cents / 100m;
            if (await AcknowledgedAsync(() => door.SubmitAsync("/balance", "/balance",
                [KeyValuePair.Create("Dollars", dollars.ToString("0.00", CultureInfo.InvariantCulture))], enough)))
                paid.Add((email, dollars));
        }
    }

    static async Task CreateAsync(FrontDoor door, ConcurrentBag<string> created, CancellationToken enough)
    {
        var person = new Capsul.Demo.Visitor(door, TestFolder.Make("failover-person"));
        await person.AddKeyAsync(Cancel);
        await person.TopUpAsync("500", Cancel);
        for (var number = 1; !enough.IsCancellationRequested; number++)
            await AcknowledgedAsync(
                async () => created.Add(await person.CreateAsync("f1-xs", "tiny", $"vm{number}", enough)));
    }

    /// <summary>
    /// Whether the Hub acknowledged it. While the database is unreachable it refuses, or does not respond.
    /// </summary>
    static async Task<bool> AcknowledgedAsync(Func<Task> act)
    {
        try
        {
            await act();
            return true;
        }
        catch (Exception error) when (error is ProblemException or HttpRequestException or OperationCanceledException
            && !Cancel.IsCancellationRequested)
        {
            return false;
        }
    }

    static async Task<string?> StatusAsync(Uri hub)
    {
        using var client = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };
        try
        {
            using var answer = await client.GetAsync(new Uri(hub, "/healthz"), Cancel);
            return JsonDocument.Parse(await answer.Content.ReadAsStringAsync(Cancel))
                .RootElement.GetProperty("status").GetString();
        }
        catch (Exception error)
            when (error is HttpRequestException or OperationCanceledException && !Cancel.IsCancellationRequested)
        {
            return null;
        }
    }

    static async Task MakeImageAsync(string folder)
    {
        var images = new ImageStore(folder);
        Directory.CreateDirectory(folder);
        var files = images.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "only pretended", Cancel);
        await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, Cancel);
    }
}
