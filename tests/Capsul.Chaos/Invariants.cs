using Capsul.Hub.Features.Hosts;
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
        await MustAsync(world, "a VM is charged what it costs",
            "SELECT count(*) FROM vms v JOIN usage_spans s ON s.vm = v.id WHERE upper_inf(s.span) "
                + "AND s.extra IS NULL AND s.dollars_per_month <> v.dollars_per_month");
        await MustAsync(world, "no VM has two open spans, and no extra",
            "SELECT count(*) FROM (SELECT vm FROM usage_spans WHERE upper_inf(span) "
                + "GROUP BY vm, extra HAVING count(*) > 1) AS twice");
        await MustAsync(world, "an extra is charged what it costs, exactly when its VM is",
            "SELECT count(*) FROM vm_extras x WHERE (x.removed IS NULL AND EXISTS (SELECT FROM usage_spans s "
                + "WHERE s.vm = x.vm AND s.extra IS NULL AND upper_inf(s.span))) <> EXISTS (SELECT FROM usage_spans s "
                + "WHERE s.extra = x.id AND upper_inf(s.span) AND s.dollars_per_month = x.dollars_per_month)");
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
            var (running, from) = (host.Hypervisor.Running, host.Hypervisor.BootedFrom);
            foreach (var (id, disk) in host.Hypervisor.Contents.Where(c => running.Contains(c.Key)))
            {
                if (!on.TryAdd(id, host.Name))
                    world.Report.Violate($"{world.NameOf(id)} is on at {on[id]} and at {host.Name}");
                // A reinstall is another disk; if it fails, the one before is there as it was.
                var key = $"{id} {from[id]}";
                var newest = world.Newest.GetValueOrDefault(key);
                if (newest is not null && (newest.DiskId != disk.DiskId || newest.Boots > disk.Boots))
                    world.Report.Violate($"{world.NameOf(id)} runs with an old disk, or another one");
                world.Newest[key] = disk;
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
                + "WHERE a.vm = v.id AND a.host = v.host AND a.extra IS NULL)");
        await MustAsync(world, "a VM has an address for each extra that it pays for, and for no other",
            "SELECT count(*) FROM vms v JOIN vm_extras x ON x.vm = v.id WHERE (x.removed IS NULL) <> EXISTS (SELECT "
                + "FROM addresses a WHERE a.vm = v.id AND a.host = v.host AND a.extra = x.id)");
        if (!world.IsRestored)
            await MustAsync(world, "no copy is left behind",
                "SELECT count(*) FROM moves WHERE ended IS NULL OR copy_host IS NOT NULL");
        await MustAsync(world, "a VM has an address only where something of it is",
            "SELECT count(*) FROM addresses a JOIN vms v ON v.id = a.vm WHERE a.host <> v.host AND NOT EXISTS "
                + "(SELECT FROM moves m WHERE m.vm = v.id AND m.copy_host = a.host)");
        await MustAsync(world, "a port of a host leads to a VM that is there",
            "SELECT count(*) FROM ports p JOIN vms v ON v.id = p.vm WHERE v.deleted IS NOT NULL OR v.host <> p.host");
        await MustAsync(world, "all charged time has the price of its size, or its kind of extra, then",
            "SELECT count(*) FROM usage_spans s JOIN vms v ON v.id = s.vm LEFT JOIN vm_extras x ON x.id = s.extra, "
                + "LATERAL (SELECT coalesce(x.kind, v.size) AS size) AS k WHERE s.dollars_per_month <> (SELECT "
                + "p.dollars_per_month FROM prices p WHERE p.size = k.size AND p.active_from <= lower(s.span) "
                + "ORDER BY p.active_from DESC LIMIT 1) OR EXISTS (SELECT FROM prices p WHERE p.size = k.size "
                + "AND p.active_from > lower(s.span) AND p.active_from < coalesce(upper(s.span), @now))");
        await MustAsync(world, "no time is charged before the VM was created, or in the future",
            "SELECT count(*) FROM usage_spans s JOIN vms v ON v.id = s.vm WHERE lower(s.span) < v.created "
                + "OR lower(s.span) > @now OR upper(s.span) > @now");
        var counters = await new CounterCheck(world.Fence, world.Settings, world.Time).LookAsync(world.Epoch, Never);
        if (counters.Any) world.Report.Violate(counters.Message);
        await CheckLedgerAsync(world);
        await CheckMachinesAsync(world);
        await CheckReachAsync(world);
        await CheckReinstallsAsync(world);
        await CheckRescuesAsync(world);
        await CheckKeysAsync(world);
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

    /// <summary>
    /// A VM has exactly the disk that it is to have, and runs from it: the new one of a reinstall that succeeded, the
    /// old one of one that did not. A database that was restored may not know of the newest.
    /// </summary>
    static async Task CheckReinstallsAsync(World world)
    {
        await MustAsync(world, "nothing is left of a reinstall", "SELECT count(*) FROM reinstalls");
        if (world.IsRestored) return;
        foreach (var (id, owner, disk) in await world.Db.ListAsync<(string, string, long)>(
            "SELECT id, host, disk FROM vms WHERE deleted IS NULL AND problem NOT LIKE '%no longer on this host%' "
                + "ORDER BY created, id", null, Never))
        {
            var machines = world.Hosts.Single(h => h.Name == owner).Hypervisor;
            if (!machines.Disks.GetValueOrDefault(id, []).SequenceEqual([disk]))
                world.Report.Violate($"{world.NameOf(id)} has other disks than its own");
            if (machines.BootedFrom.TryGetValue(id, out var from) && from != disk)
                world.Report.Violate($"{world.NameOf(id)} runs from another disk than its own");
        }
    }

    /// <summary>
    /// A VM runs from a rescue system if that is wanted, and only then; nothing is left of one that is over. The VM's
    /// own disk is not booted meanwhile.
    /// </summary>
    static async Task CheckRescuesAsync(World world)
    {
        await MustAsync(world, "no rescue is between two states",
            "SELECT count(*) FROM rescues r JOIN vms v ON v.id = r.vm WHERE r.ended IS NULL AND (r.ending "
                + "OR v.deleted IS NOT NULL)");
        foreach (var (id, owner, rescue) in await world.Db.ListAsync<(string, string, long)>(
            "SELECT v.id, v.host, coalesce((SELECT r.number FROM rescues r WHERE r.vm = v.id AND r.ended IS NULL), 0) "
                + "FROM vms v WHERE v.deleted IS NULL AND v.problem NOT LIKE '%no longer on this host%' "
                + "ORDER BY v.created, v.id", null, Never))
        {
            var machines = world.Hosts.Single(h => h.Name == owner).Hypervisor;
            if (machines.Running.Contains(id) && machines.Rescued.GetValueOrDefault(id) != rescue)
                world.Report.Violate($"{world.NameOf(id)} should run from rescue system {rescue}, and does not");
            if (rescue == 0 && machines.RescueDisks.ContainsKey(id))
                world.Report.Violate($"{world.NameOf(id)} still has a rescue system");
        }
    }

    /// <summary>Keys count as taken only if the guest has them.</summary>
    static async Task CheckKeysAsync(World world)
    {
        if (world.IsRestored) return;
        foreach (var (id, owner, number) in await world.Db.ListAsync<(string, string, long)>(
            "SELECT v.id, v.host, max(c.number) FROM vms v JOIN key_changes c ON c.vm = v.id AND c.number > v.disk "
                + "AND c.done IS NOT NULL WHERE v.deleted IS NULL AND v.problem NOT LIKE '%no longer on this host%' "
                + "GROUP BY v.id, v.host ORDER BY v.id", null, Never))
        {
            var machines = world.Hosts.Single(h => h.Name == owner).Hypervisor;
            if (machines.Contents.GetValueOrDefault(id)?.KeySet is not { } taken || taken < number)
                world.Report.Violate($"{world.NameOf(id)} is said to have keys that it does not have");
        }
    }

    /// <summary>
    /// Each VM that is on is reached by what its owner wants, and by nothing else. A host that refuses an outdated
    /// database changes nothing.
    /// </summary>
    static async Task CheckReachAsync(World world)
    {
        var refused = (await world.Db.ListAsync<string>(
            "SELECT id FROM vms WHERE problem LIKE '%no longer on this host%'", null, Never)).ToHashSet();
        foreach (var host in world.Hosts)
        {
            var running = host.Hypervisor.Running;
            foreach (var vm in await world.Db.ListAsync<WantedRow>(
                HostSql.Wanted, new { host = host.Name, since = -1L }, Never))
            {
                if (vm.IsCopy || vm.Wanted != "on" || !running.Contains(vm.Id) || refused.Contains(vm.Id)) continue;
                var further = host.Hypervisor.Further.GetValueOrDefault(vm.Id)?.Select(a => $"{a}") ?? [];
                if (!vm.Further.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split(' ')[0])
                    .SequenceEqual(further, StringComparer.Ordinal))
                    world.Report.Violate($"{world.NameOf(vm.Id)} may use other further addresses than it has");
                var rules = host.Hypervisor.Firewalls.GetValueOrDefault(vm.Id)?.Rules
                    .Select(r => $"tcp {r.First} {r.Last}") ?? [];
                if (vm.FirewallRules != string.Join('\n', rules))
                    world.Report.Violate($"{world.NameOf(vm.Id)} has another firewall than its owner wants");
                var ports = host.Relays.Forwarded.GetValueOrDefault(vm.Id)?.OrderBy(f => f.HostPort)
                    .ThenBy(f => f.IsUdp).Select(f => $"{f.VmPort} {f.HostPort} {(f.IsUdp ? "udp" : "tcp")}") ?? [];
                if (vm.Ports != string.Join('\n', ports))
                    world.Report.Violate($"{world.NameOf(vm.Id)} has other ports than its owner wants");
            }
        }
    }

    static void CheckPromises(World world, Actors actors, long shutdowns)
    {
        foreach (var (id, count) in world.Hosts.SelectMany(h => h.Hypervisor.DisksMade).Where(d => d.Value > 1))
            world.Report.Violate($"a new disk was created {count} times for {world.NameOf(id.Split('.')[0])}");
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
