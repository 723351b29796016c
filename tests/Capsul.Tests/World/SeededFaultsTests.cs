using Capsul.Chaos;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// The whole system on one virtual clock with faults drawn from a seed; see <see cref="ChaosRun"/>. A seed that fails is replayed with
/// <c>./capsul chaos --seed N</c>, which prints everything that happened; <c>./capsul chaos --seeds N</c> runs more of them.
/// </summary>
public sealed class SeededFaultsTests
{
    const int Seeds = 50;

    [Fact]
    public async Task Whatever_goes_wrong_what_must_hold_holds()
    {
        await using var database = await TestDatabase.CreateAsync();
        using var run = new ChaosRun(database.Db, TestFolder.Make("chaos"));
        var total = new Report();
        for (var seed = 1; seed <= Seeds; seed++) total.Add(seed, (await run.RunAsync(seed)).Report);
        total.Violations.ShouldBeEmpty();
        total.Counts.Keys.Count(k => k.StartsWith("fault ", StringComparison.Ordinal)).ShouldBeGreaterThan(50, "nearly every kind of fault was drawn for every verb");
        foreach (var action in (string[])["kill a Spoke", "kill the Hub", "cut a line", "reboot a host", "a guest crashes", "a guest powers itself off", "restore of a backup"])
            total.Counts[action].ShouldBeGreaterThan(10);
        total.LateWritesRefused.ShouldBeGreaterThan(50);
    }

    [Fact]
    public async Task A_seed_replays_to_the_line()
    {
        await using var database = await TestDatabase.CreateAsync();
        using var run = new ChaosRun(database.Db, TestFolder.Make("chaos"));
        var first = (await run.RunAsync(7)).Trace;
        await run.RunAsync(8);
        (await run.RunAsync(7)).Trace.ShouldBe(first);
    }
}
