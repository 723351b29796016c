using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Repairs;
using Capsul.Hub.Reconcilers;
using Capsul.Spoke.Hypervisor;

namespace Capsul.Chaos;

/// <summary>
/// What must hold whatever went wrong: invariants 1 to 7 and 11 of the design. 1 and 2 are checked where they could
/// break (see <see cref="World"/>); 5 and 7 are also constraints of the database, whose violation would be an error.
/// </summary>
static class Invariants
{
    static readonly CancellationToken Never = CancellationToken.None;

    /// <summary>At any moment.</summary>
    public static async Task CheckAlwaysAsync(World world)
    {
        await MustAsync(world, "nobody pays for a VM whose state is unknown",
            "SELECT count(*) FROM vms v JOIN usage_spans s ON s.vm = v.id WHERE upper_inf(s.span) "
                + "AND v.observed = 'unknown' AND v.wanted <> 'gone'");
        await MustAsync(world, "nobody pays for a VM that is gone or never started",
            "SELECT count(*) FROM vms v JOIN usage_spans s ON s.vm = v.id WHERE upper_inf(s.span) "
                + "AND v.state IN ('creating', 'deleting', 'deleted', 'failed')");
        await MustAsync(world, "no host builds more VMs than it has slots",
            "SELECT count(*) FROM (SELECT host FROM vms WHERE state = 'creating' AND queued IS NULL "
                + $"GROUP BY host HAVING count(*) > {world.Settings.BuildSlots}) AS too_many");
        await MustAsync(world, "nobody pays for a VM that its host has paused",
            "SELECT count(*) FROM vms v JOIN usage_spans s ON s.vm = v.id WHERE upper_inf(s.span) "
                + "AND v.paused AND v.wanted <> 'gone'");
        await MustAsync(world, "no VM has two open spans",
            "SELECT count(*) FROM (SELECT vm FROM usage_spans WHERE upper_inf(span) "
                + "GROUP BY vm HAVING count(*) > 1) AS twice");
    }

    /// <summary>
    /// At any moment: a VM is on at one host at most, and never with an older disk than one it ran with before. A
    /// database that was restored does not know of later moves.
    /// </summary>
    public static void CheckDisks(World world)
    {
        if (world.IsRestored) return;
        var on = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var host in world.Hosts)
        {
            var running = host.Hypervisor.Running;
            foreach (var (id, disk) in host.Hypervisor.Contents.Where(c => running.Contains(c.Key)))
            {
                if (!on.TryAdd(id, host.Name))
                    world.Report.Violate($"{world.NameOf(id)} is on at {on[id]} and at {host.Name}");
                var newest = world.Newest.GetValueOrDefault(id);
                if (newest is not null && (newest.DiskId != disk.DiskId || newest.Boots > disk.Boots))
                    world.Report.Violate($"{world.NameOf(id)} runs with an old disk, or another one");
                world.Newest[id] = disk;
            }
        }
    }

    /// <summary>Checked when the faults have ended and everything has had time to come to rest.</summary>
    public static async Task CheckAtRestAsync(World world, Actors actors)
    {
        await CheckAlwaysAsync(world);
        await MustAsync(world, "every operation ends", "SELECT count(*) FROM operations WHERE finished IS NULL");
        await MustAsync(world, "every VM runs, is stopped, or is gone",
            "SELECT count(*) FROM vms WHERE deleted IS NULL AND state NOT IN ('running', 'stopped')");
        await MustAsync(world, "a VM that failed to start is not charged",
            "SELECT count(*) FROM usage_spans WHERE vm IN (SELECT id FROM vms WHERE state = 'failed')");
        await MustAsync(world, "an existing VM is charged",
            "SELECT count(*) FROM vms v WHERE deleted IS NULL AND problem NOT LIKE '%no longer on this host%'"
            + " AND NOT EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span))");
        await MustAsync(world, "no VM is paused when there is room",
            "SELECT count(*) FROM vms WHERE deleted IS NULL AND paused");
        await MustAsync(world, "a deleted VM has no address",
            "SELECT count(*) FROM addresses a JOIN vms v ON v.id = a.vm WHERE v.deleted IS NOT NULL");
        await MustAsync(world, "an existing VM has an address",
            "SELECT count(*) FROM vms v WHERE deleted IS NULL AND NOT EXISTS (SELECT FROM addresses a "
                + "WHERE a.vm = v.id AND a.host = v.host)");
        if (!world.IsRestored)
            await MustAsync(world, "no copy is left behind",
                "SELECT count(*) FROM moves WHERE ended IS NULL OR copy_host IS NOT NULL");
        await MustAsync(world, "a VM has an address only where something of it is",
            "SELECT count(*) FROM addresses a JOIN vms v ON v.id = a.vm WHERE a.host <> v.host AND NOT EXISTS "
                + "(SELECT FROM moves m WHERE m.vm = v.id AND m.copy_host = a.host)");
        await MustAsync(world, "no time is charged before the VM was created, or in the future",
            "SELECT count(*) FROM usage_spans s JOIN vms v ON v.id = s.vm WHERE lower(s.span) < v.created "
                + "OR lower(s.span) > @now OR upper(s.span) > @now");
        var counters = await new CounterCheck(world.Fence, world.Settings, world.Time).LookAsync(world.Epoch, Never);
        if (counters.Any) world.Report.Violate(counters.Message);
        await CheckLedgerAsync(world);
        await CheckMachinesAsync(world);
        await CheckPlanAsync(world);
        CheckPromises(world, actors,
            await CountAsync(world, "SELECT count(*) FROM operations WHERE kind = 'guest_shutdown'"));
    }

    /// <summary>After another hour was posted, the ledger has all usage, and nothing waits to be corrected.</summary>
    static async Task CheckLedgerAsync(World world)
    {
        await world.PostHourAsync(VirtualTime.FirstHour.AddHours(1));
        var report = await VerifyLedger.RunAsync(world.Db, Never);
        foreach (var difference in report.Differences) world.Report.Violate($"the ledger: {difference}");
        foreach (var account in report.Waiting) world.Report.Violate($"the ledger waits for {account}");
    }

    /// <summary>
    /// What the Hub can repair, it has: what is left (a lost disk, a machine from after a backup) needs a person.
    /// </summary>
    static async Task CheckPlanAsync(World world)
    {
        var plan = await world.Db.InTransactionAsync(
            transaction => RepairPlan.MakeAsync(transaction, null, world.Time.Now, Never), Never);
        foreach (var line in plan.Lines.Where(l => l.Action == RepairAction.Repair))
            world.Report.Violate($"fsck finds: {line.Finding.Kind}, {line.Finding.Detail}");
    }

    /// <summary>Each existing VM is on its host in its wanted state, and no deleted VM is still there.</summary>
    static async Task CheckMachinesAsync(World world)
    {
        var rows = await world.Db.ListAsync<(string Id, string Host, string Wanted, bool Deleted, bool Lost)>(
            "SELECT id, host, wanted, deleted IS NOT NULL, problem LIKE '%no longer on this host%' FROM vms "
                + "ORDER BY created, id", null, Never);
        foreach (var host in world.Hosts)
        {
            var machines = (await host.Hypervisor.ListAsync(Never))
                .ToDictionary(m => m.Id, m => m.Power, StringComparer.Ordinal);
            foreach (var (id, owner, _, _, _) in rows.Where(r => r.Host != host.Name && machines.ContainsKey(r.Id)))
            {
                if (!world.IsRestored)
                    world.Report.Violate($"{world.NameOf(id)} is on {owner}, but {host.Name} still has a copy");
            }
            foreach (var (id, _, wanted, deleted, lost) in rows.Where(r => r.Host == host.Name))
            {
                DomainPower? power = machines.TryGetValue(id, out var found) ? found : null;
                if (deleted && power is not null)
                    world.Report.Violate($"{world.NameOf(id)} is deleted but still on {host.Name}");
                if (!deleted && !lost && wanted == "on" && power != DomainPower.On)
                    world.Report.Violate($"{world.NameOf(id)} is wanted on but is not");
                if (!deleted && wanted == "off" && power == DomainPower.On)
                    world.Report.Violate($"{world.NameOf(id)} is wanted off but is on");
            }
        }
    }

    static void CheckPromises(World world, Actors actors, long shutdowns)
    {
        foreach (var (id, count) in world.Hosts.SelectMany(h => h.Hypervisor.DisksMade).Where(d => d.Value > 1))
            world.Report.Violate($"a new disk was created {count} times for {world.NameOf(id)}");
        if (shutdowns > actors.Poweroffs)
            world.Report.Violate(
                $"{shutdowns} VMs were recorded as shut down by their guests; {actors.Poweroffs} were");
    }

    static async Task MustAsync(World world, string what, string sql)
    {
        if (await CountAsync(world, sql) is > 0 and var count) world.Report.Violate($"{what}: {count} times not");
    }

    static Task<long> CountAsync(World world, string sql) =>
        world.Db.FindAsync<long>(sql, new { now = world.Time.Now }, Never);
}
