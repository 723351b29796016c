using Capsul.Foundation;

namespace Capsul.Tests.World;

/// <summary>
/// The whole system on one virtual clock with faults drawn from a seed, in a separate process; see <c>Capsul.Chaos</c>.
/// A seed that fails is replayed with <c>./capsul chaos --seed N</c>, which prints everything that happened;
/// <c>./capsul chaos --seeds N</c> runs more.
/// </summary>
public sealed class SeededFaultsTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly string Program = Path.Combine(AppContext.BaseDirectory, "Capsul.Chaos");

    [Fact]
    public async Task Invariants_hold_under_every_fault()
    {
        var ended = await RunAsync("--seeds", "50");
        ended.ExitCode.ShouldBe(0, ended.Output + ended.Error);
        ended.Output.ShouldContain("50 seeds in");
        foreach (var action in (string[])["kill a Spoke", "kill the Hub",
            "cut a connection", "reboot a host", "a guest crashes", "a disk is full", "restore of a backup"])
            ended.Output.ShouldContain($"  {action}\n");
        foreach (var kind in (string[])["Slow", "Fail", "FailFinal", "Hang", "Lie", "LoseAnswer"])
            ended.Output.ShouldContain($"  fault {kind} of ");
    }

    [Fact]
    public async Task A_seed_replays_exactly()
    {
        var (first, second) = (await RunAsync("--seed", "7"), await RunAsync("--seed", "7"));
        WithoutClock(second.Output).ShouldBe(WithoutClock(first.Output));
        first.Output.Split('\n').Length.ShouldBeGreaterThan(500);
    }

    /// <summary>The last line says how long it took.</summary>
    static string WithoutClock(string output) =>
        string.Join('\n', output.Split('\n').Where(l => !l.Contains("seeds in", StringComparison.Ordinal)));

    static Task<CommandResult> RunAsync(params string[] arguments) =>
        new Command(Program, arguments) { Timeout = TimeSpan.FromMinutes(9) }.TryRunAsync(Cancel);
}
