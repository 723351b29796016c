using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// The whole system with faults drawn from a seed: verbs that fail, lie, hang or lose their answer, a Spoke and a Hub that go away in the
/// middle. Whatever happened, in the end every VM runs, is stopped, or is gone, and the sums agree. The seed is in the test's name; to try
/// others, set TEST_SEEDS to how many.
/// </summary>
public sealed class SeededFaultsTests
{
    static readonly CancellationToken Cancel = TestContext.Current.CancellationToken;
    const int Actions = 30;

    public static TheoryData<int> Seeds =>
        [.. Enumerable.Range(1, int.TryParse(Environment.GetEnvironmentVariable("TEST_SEEDS"), out var count) ? count : 4)];

    [Theory, MemberData(nameof(Seeds))]
    public async Task Whatever_goes_wrong_every_vm_ends_running_stopped_or_gone(int seed)
    {
        var random = new Random(seed);
        await using var world = await SimulatedWorld.StartAsync(Cancel);
        for (var n = 0; n < Actions; n++)
            await ActAsync(world, random);
        await world.UntilAsync(async () => await CountAsync(world, "operations", "finished IS NULL") == 0, "every operation has ended", Cancel);
        await world.UntilAsync(async () => await CountAsync(world, "vms", "deleted IS NULL AND state NOT IN ('running', 'stopped')") == 0, "every VM rests", Cancel);
        await CheckAsync(world);
    }

    static async Task ActAsync(SimulatedWorld world, Random random)
    {
        switch (random.Next(10))
        {
            case 0:
                await world.StopSpokeAsync();
                world.StartSpoke();
                break;
            case 1:
                await world.StopHubAsync();
                await world.StartHubAsync(Cancel);
                break;
            case 2 or 3:
                InjectFault(world, random);
                break;
            case 4 or 5 or 6:
                await CreateAsync(world);
                break;
            default:
                await ChangeAsync(world, random);
                break;
        }
    }

    static void InjectFault(SimulatedWorld world, Random random)
    {
        Verb[] verbs = [Verb.MakeDisk, Verb.Define, Verb.Start, Verb.Shutdown, Verb.TurnOff, Verb.Remove, Verb.Find, Verb.Console, Verb.Dial];
        FaultKind[] kinds = [FaultKind.Slow, FaultKind.Fail, FaultKind.Hang, FaultKind.LoseAnswer];
        world.Hypervisor.Inject(verbs[random.Next(verbs.Length)], new Fault(kinds[random.Next(kinds.Length)], random.Next(1, 4), By: TimeSpan.FromMilliseconds(random.Next(300))));
    }

    static async Task CreateAsync(SimulatedWorld world)
    {
        var key = await world.Db.FindAsync<long>("SELECT id FROM ssh_keys", null, Cancel);
        (await CreateVm.RunAsync(world.Db, SimulatedWorld.Email, new CreateVm.Input(null, "f1-xs", "tiny", [key]), world.Settings, TimeProvider.System, Cancel))
            .Problem?.Kind.ShouldBe(ProblemKind.NoCapacity, "a host that just went away has no room");
    }

    /// <summary>A random use case on a random VM; a refusal because of its state is an answer too.</summary>
    static async Task ChangeAsync(SimulatedWorld world, Random random)
    {
        var vms = await world.Db.ListAsync<string>("SELECT id FROM vms WHERE deleted IS NULL ORDER BY created", null, Cancel);
        if (vms.Count == 0) return;
        var (vm, email) = (vms[random.Next(vms.Count)], SimulatedWorld.Email);
        var outcome = random.Next(5) switch
        {
            0 => await ChangeVm.RunAsync(VmActions.Stop, world.Db, email, vm, world.Settings, TimeProvider.System, Cancel),
            1 => await ChangeVm.RunAsync(VmActions.Start, world.Db, email, vm, world.Settings, TimeProvider.System, Cancel),
            2 => await ChangeVm.RunAsync(VmActions.Restart, world.Db, email, vm, world.Settings, TimeProvider.System, Cancel),
            3 => await CancelVm.RunAsync(world.Db, VmRows.AllKinds(), email, vm, TimeProvider.System, Cancel),
            _ => await ChangeVm.RunAsync(VmActions.Delete, world.Db, email, vm, world.Settings, TimeProvider.System, Cancel),
        };
        outcome.Problem?.Kind.ShouldBeOneOf(ProblemKind.Conflict, ProblemKind.NotFound);
    }

    static async Task CheckAsync(SimulatedWorld world)
    {
        var alive = await world.Db.ListAsync<string>("SELECT id FROM vms WHERE deleted IS NULL", null, Cancel);
        (await world.Hypervisor.ListAsync(Cancel)).Select(d => d.Id).ShouldBe(alive, ignoreOrder: true, "nothing is left on the host that is not a living VM");
        (await CountAsync(world, "addresses", "vm IS NOT NULL")).ShouldBe(alive.Count);
        (await CountAsync(world, "usage_spans", "vm IN (SELECT id FROM vms WHERE state = 'failed')")).ShouldBe(0, "what did not come up is not charged");
        (await CountAsync(world, "usage_spans", "upper_inf(span) AND vm IN (SELECT id FROM vms WHERE deleted IS NOT NULL)")).ShouldBe(0, "what is gone is not charged");
        (await CountAsync(world, "vms", "deleted IS NULL AND NOT EXISTS (SELECT FROM usage_spans s WHERE s.vm = vms.id AND upper_inf(s.span))")).ShouldBe(0, "what is there is charged");
    }

    static Task<int> CountAsync(SimulatedWorld world, string table, string where) =>
        world.Db.FindAsync<int>($"SELECT count(*)::integer FROM {table} WHERE {where}", null, Cancel);
}
