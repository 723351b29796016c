using Capsul.Fleet;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary><c>capsul fleet</c> as people start it, with its Hub on the test's database.</summary>
public sealed class FleetTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Every_vm_of_a_fleet_is_reported_and_none_changes_its_state()
    {
        await using var database = await TestDatabase.CreateAsync();
        var fleet = await CapsulProgram.RunAsync(
            new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATABASE"] = database.ConnectionString },
            Cancel, "fleet", "--spokes", "5", "--vms", "4", "--until-settled", "--for", "100", "--every", "0.2");
        fleet.ExitCode.ShouldBe(0, $"{fleet.Output}\n{fleet.Error}");
        fleet.Output.ShouldContain("20 of 20 VMs of 5 Spokes reported; 0 changed state");
        var rows = await database.Db.ListAsync<string>(
            """
            SELECT format('%s %s %s phase %s, %s open', state, wanted, observed, phase,
                (SELECT count(*) FROM usage_spans u WHERE u.vm = v.id AND upper_inf(span)))
            FROM vms v
            """, null, Cancel);
        rows.ShouldBe(Enumerable.Repeat("running on on phase 6, 1 open", 20));
        (await database.Db.FindAsync<long>("SELECT sum(generation)::bigint FROM hosts", null, Cancel)).ShouldBe(20);
    }

    [Fact]
    public void Both_sides_of_a_fleet_follow_from_its_size()
    {
        var plan = new FleetPlan(30, 7);
        var vms = Enumerable.Range(0, plan.Spokes).SelectMany(plan.VmsOf).ToList();
        vms.Count.ShouldBe(plan.Vms);
        vms.Select(v => v.Id).Distinct(StringComparer.Ordinal).Count().ShouldBe(plan.Vms);
        vms.Select(v => (v.Host, v.Address)).Distinct().Count().ShouldBe(plan.Vms);
        vms.GroupBy(v => v.Email, StringComparer.Ordinal).Select(a => a.Key).Order(StringComparer.Ordinal)
            .ShouldBe(plan.Accounts);
        vms.Count(v => v.Email == FleetPlan.AccountName(0)).ShouldBe(plan.Largest);
        plan.Addresses.ShouldAllBe(a => plan.Network.Contains(a));
        plan.Addresses.Count.ShouldBeGreaterThanOrEqualTo(2 * plan.VmsPerSpoke);
        vms.Select(v => v.Address).ShouldAllBe(a => plan.Addresses.Contains(a));
    }

    [Fact]
    public void Faults_have_the_frequency_that_was_asked_for()
    {
        var counts = new FleetCounts();
        var faults = new FleetFaults(0.1, seed: 7, counts);
        for (var n = 0; n < 10_000; n++) faults.Draw(Verb.Find);
        counts.Faults.ShouldBeInRange(900, 1100);
        new FleetFaults(0, seed: 7, counts).Draw(Verb.Find).ShouldBeNull();
        new FleetFaults(0, seed: 7, counts).DrawLife().ShouldBe(Timeout.InfiniteTimeSpan);
    }
}
