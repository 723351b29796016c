using System.Globalization;
using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Rebuilds;

/// <summary>A VM from its recovery record, whose signature and formats have been checked.</summary>
/// <param name="Wanted">on, off or gone.</param>
/// <param name="HasRun">According to the record, or to the Spoke since.</param>
/// <param name="Moves">How often it had changed hosts: of the records of several hosts the highest counts.</param>
public sealed record RecoverableVm(
    string Id, long Epoch, long Generation, string Email, string Name, string Size, decimal DollarsPerMonth, int Vcpus,
    int MemoryMb, int DiskGb, string Image, string ImageSha256, string LoginUser, DateTime Created, string Wanted,
    string Mac, string Address, IReadOnlyList<RecoverableKey> Keys, bool HasRun, int Moves = 0)
{
    public FirewallState Firewall { get; init; } = FirewallState.Default;

    /// <summary>Its IPv4 addresses besides the first.</summary>
    public IReadOnlyList<RecoverableAddress> Further { get; init; } = [];
}

/// <summary>A further address, and what it cost a month.</summary>
public sealed record RecoverableAddress(string Address, decimal DollarsPerMonth);

/// <param name="Key">The base64 part.</param>
public sealed record RecoverableKey(string Name, string Type, string Key);

/// <summary>
/// Takes the VMs of one host into a database that is being rebuilt: accounts, sizes and images that are missing, VMs
/// with their addresses and keys. What is there already is never changed. No usage span is opened: as always, charging
/// begins when the VM is observed.
/// </summary>
public static class RebuildHost
{
    const int MaxNameChars = 63;

    /// <summary>What the database has before.</summary>
    /// <param name="Hosts">The host of each of these VMs that exists.</param>
    /// <param name="Names">"email name" of all VMs of these accounts.</param>
    /// <param name="Addresses">The VM that has each address of the host.</param>
    public sealed record Facts(
        IReadOnlyDictionary<string, string> Hosts, IReadOnlySet<string> Names,
        IReadOnlyDictionary<string, string> Addresses)
    {
        /// <summary>
        /// VMs that came from another host of the rebuild that is open, and how often they had changed hosts then: it
        /// may have had an old copy.
        /// </summary>
        public IReadOnlyDictionary<string, int> Rebuilt { get; init; } =
            new Dictionary<string, int>(StringComparer.Ordinal);
    }

    /// <param name="Vms">To be inserted, with their final names.</param>
    /// <param name="Present">How many are there already.</param>
    /// <param name="Notes">A sentence for each VM that is not taken in, or has another name.</param>
    public sealed record Plan(IReadOnlyList<RecoverableVm> Vms, int Present, IReadOnlyList<string> Notes)
    {
        /// <summary>Those of which another host had an old copy: they are on this one.</summary>
        public IReadOnlyList<RecoverableVm> TakenOver { get; init; } = [];
    }

    /// <summary>The newest record has the first choice of address and name.</summary>
    public static Plan Decide(string host, IEnumerable<RecoverableVm> records, Facts facts)
    {
        var (vms, taken, present, notes) =
            (new List<RecoverableVm>(), new List<RecoverableVm>(), 0, new List<string>());
        var names = facts.Names.ToHashSet(StringComparer.Ordinal);
        var addresses = facts.Addresses.ToDictionary(StringComparer.Ordinal);
        foreach (var vm in records.OrderByDescending(r => r.Moves).ThenByDescending(r => r.Epoch)
            .ThenByDescending(r => r.Generation).ThenBy(r => r.Id, StringComparer.Ordinal).DistinctBy(r => r.Id))
        {
            if (facts.Hosts.TryGetValue(vm.Id, out var where))
            {
                if (where == host) present++;
                else if (vm.Wanted != "gone" && facts.Rebuilt.TryGetValue(vm.Id, out var moves) && vm.Moves > moves
                    && addresses.TryAdd(vm.Address, vm.Id))
                {
                    notes.Add($"{vm.Id}: {where} had an old copy of it, which is left alone there.");
                    taken.Add(TakeFurther(vm, addresses, notes));
                }
                else notes.Add($"{vm.Id}: it is already on {where}.");
                continue;
            }
            if (vm.Wanted == "gone")
            {
                notes.Add($"{vm.Id}: it was being deleted.");
                continue;
            }
            if (!addresses.TryAdd(vm.Address, vm.Id))
            {
                notes.Add($"{vm.Id}: its address {vm.Address} belongs to {addresses[vm.Address]}.");
                continue;
            }
            var name = Free(names, vm);
            if (name != vm.Name) notes.Add($"{vm.Id}: {vm.Email} has another {vm.Name}; it is now {name}.");
            vms.Add(vm with { Name = name });
        }
        // First addresses come before further ones of others.
        return new Plan([.. vms.Select(v => TakeFurther(v, addresses, notes))], present, notes) { TakenOver = taken };
    }

    /// <summary>The VM without further addresses that others have.</summary>
    static RecoverableVm TakeFurther(RecoverableVm vm, Dictionary<string, string> addresses, List<string> notes)
    {
        var free = vm.Further.Where(f => addresses.TryAdd(f.Address, vm.Id)).ToList();
        notes.AddRange(vm.Further.Except(free)
            .Select(f => $"{vm.Id}: its further address {f.Address} belongs to {addresses[f.Address]}."));
        return vm with { Further = free };
    }

    /// <summary>The VM's name, or the first with a number that the account does not have.</summary>
    static string Free(HashSet<string> names, RecoverableVm vm)
    {
        for (var n = 1; ; n++)
        {
            var suffix = n == 1 ? "" : "-" + n.ToString(CultureInfo.InvariantCulture);
            var name = vm.Name[..Math.Min(vm.Name.Length, MaxNameChars - suffix.Length)] + suffix;
            if (names.Add($"{vm.Email} {name}")) return name;
        }
    }

    /// <summary>Decides and inserts. Null: no rebuild is open.</summary>
    /// <param name="transaction">Fenced, the caller's.</param>
    /// <param name="host">As the Spoke's certificate names it.</param>
    /// <param name="certificate">SHA-256 of that certificate.</param>
    /// <param name="records">Checked.</param>
    /// <param name="refused">A sentence for each that was not.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="ProblemException">The database knows the host with another certificate.</exception>
    public static async Task<Plan?> InAsync(
        NpgsqlTransaction transaction, string host, byte[] certificate, IReadOnlyCollection<RecoverableVm> records,
        IReadOnlyCollection<string> refused, DateTime now, CancellationToken cancel)
    {
        if (await transaction.FindAsync<OpenRebuildRow>(RebuildSql.LockOpen, null, cancel) is not { } open) return null;
        var emails = records.Where(r => r.Wanted != "gone").Select(r => r.Email).Distinct(StringComparer.Ordinal)
            .ToArray();
        await transaction.ExecuteAsync(AccountSql.CreateMany, new { emails, now }, cancel);
        await transaction.ListAsync<string>(AccountSql.LockMany, new { emails }, cancel);
        var generation = records.Select(r => r.Generation).DefaultIfEmpty().Max();
        if (await transaction.FindAsync<string>(HostSql.Rebuild, new { id = host, certificate, generation }, cancel)
            is null)
            throw new ProblemException(ProblemKind.Forbidden,
                $"The Hub knows {host} with another certificate, or as revoked.");
        var plan = Decide(host, records, await LoadAsync(transaction, host, records, emails, cancel));
        await TakeOverAsync(transaction, host, plan.TakenOver, now, cancel);
        await InsertAsync(transaction, host, plan.Vms, now, cancel);
        plan = plan with { Notes = [.. refused, .. plan.Notes] };
        await transaction.ExecuteAsync(RebuildSql.PutHost, new
        {
            rebuild = open.Id,
            host,
            now,
            vms = plan.Vms.Count + plan.TakenOver.Count + plan.Present,
            notes = plan.Notes.ToArray(),
        }, cancel);
        return plan;
    }

    static async Task<Facts> LoadAsync(
        NpgsqlTransaction transaction, string host, IReadOnlyCollection<RecoverableVm> records, string[] emails,
        CancellationToken cancel)
    {
        var ids = records.Select(r => r.Id).Distinct(StringComparer.Ordinal).ToArray();
        var placed = await transaction.ListAsync<PlacedVmRow>(RebuildVmSql.Placed, new { ids }, cancel);
        return new Facts(
            placed.ToDictionary(v => v.Id, v => v.Host, StringComparer.Ordinal),
            (await transaction.ListAsync<string>(RebuildVmSql.Names, new { emails }, cancel))
                .ToHashSet(StringComparer.Ordinal),
            (await transaction.ListAsync<TakenAddressRow>(AddressSql.Taken, new { host }, cancel))
                .ToDictionary(a => a.Address, a => a.Vm, StringComparer.Ordinal))
        {
            Rebuilt = placed.Where(v => v.IsRebuilt).ToDictionary(v => v.Id, v => v.Moves, StringComparer.Ordinal),
        };
    }

    /// <summary>The other host has not been told of them: it gets no wanted states while the rebuild is open.</summary>
    static async Task TakeOverAsync(
        NpgsqlTransaction transaction, string host, IReadOnlyList<RecoverableVm> vms, DateTime now,
        CancellationToken cancel)
    {
        if (vms.Count == 0) return;
        var ids = vms.Select(v => v.Id).ToArray();
        await transaction.ExecuteAsync(AddressSql.FreeMany, new { ids, now }, cancel);
        await transaction.ExecuteAsync(ExtraSql.Forget, new { ids, now }, cancel);
        await transaction.ExecuteAsync(RebuildVmSql.TakeOver, new
        {
            host,
            ids,
            wanted = vms.Select(v => v.Wanted).ToArray(),
            generations = vms.Select(v => v.Generation).ToArray(),
            hasRun = vms.Select(v => v.HasRun).ToArray(),
            moves = vms.Select(v => v.Moves).ToArray(),
        }, cancel);
        await TakeAddressesAsync(transaction, host, vms, now, cancel);
    }

    static async Task TakeAddressesAsync(NpgsqlTransaction transaction, string host, IReadOnlyList<RecoverableVm> vms,
        DateTime now, CancellationToken cancel)
    {
        var (addresses, ids) = (vms.Select(v => v.Address).ToArray(), vms.Select(v => v.Id).ToArray());
        await transaction.ExecuteAsync(
            AddressSql.Put, new { host, addresses, macs = vms.Select(v => v.Mac).ToArray() }, cancel);
        if (await transaction.ExecuteAsync(AddressSql.TakeBack, new { host, addresses, vms = ids }, cancel) < vms.Count)
            throw new ProblemException(ProblemKind.Conflict, "Two VMs of this host have the same MAC address.");
        foreach (var vm in vms)
            foreach (var further in vm.Further)
                await TakeFurtherAsync(transaction, host, vm.Id, further, now, cancel);
    }

    static async Task TakeFurtherAsync(NpgsqlTransaction transaction, string host, string vm,
        RecoverableAddress further, DateTime now, CancellationToken cancel)
    {
        var address = further.Address;
        var extra = await transaction.AskAsync<long>(ExtraSql.AddLost,
            new { vm, kind = Prices.FurtherAddress, dollars = further.DollarsPerMonth, now }, cancel);
        await transaction.ExecuteAsync(AddressSql.Put,
            new { host, addresses = new[] { address }, macs = new[] { Ipv4.Mac(IPAddress.Parse(address)) } }, cancel);
        if (await transaction.ExecuteAsync(AddressSql.TakeBackFurther, new { host, address, vm, extra }, cancel) == 0)
            throw new ProblemException(ProblemKind.Conflict, $"{address} cannot be given to {vm} again.");
    }

    static async Task InsertAsync(
        NpgsqlTransaction transaction, string host, IReadOnlyList<RecoverableVm> vms, DateTime now,
        CancellationToken cancel)
    {
        if (vms.Count == 0) return;
        await InsertOfferedAsync(transaction, vms, cancel);
        await InsertVmsAsync(transaction, host, vms, now, cancel);
        await TakeAddressesAsync(transaction, host, vms, now, cancel);
        await InsertKeysAsync(transaction, vms, now, cancel);
        await ChangeFirewall.InsertAsync(
            transaction, vms.ToDictionary(v => v.Id, v => v.Firewall, StringComparer.Ordinal), cancel);
        await transaction.ExecuteAsync(AuditSql.InsertMany, new
        {
            actor = $"host {host}",
            action = "rebuild_vm",
            subjects = vms.Select(v => v.Id).ToArray(),
            details = vms.Select(v => $"{v.Name} of {v.Email}, {v.Size}, {v.Address}").ToArray(),
        }, cancel);
    }

    static async Task InsertOfferedAsync(
        NpgsqlTransaction transaction, IReadOnlyList<RecoverableVm> vms, CancellationToken cancel)
    {
        var sizes = vms.DistinctBy(v => v.Size).ToList();
        await transaction.ExecuteAsync(SizeSql.AddMissing, new
        {
            ids = sizes.Select(v => v.Size).ToArray(),
            dollars = sizes.Select(v => v.DollarsPerMonth).ToArray(),
            vcpus = sizes.Select(v => v.Vcpus).ToArray(),
            memoryMb = sizes.Select(v => v.MemoryMb).ToArray(),
            diskGb = sizes.Select(v => v.DiskGb).ToArray(),
        }, cancel);
        var images = vms.DistinctBy(v => v.Image).ToList();
        await transaction.ExecuteAsync(ImageSql.AddMissing, new
        {
            ids = images.Select(v => v.Image).ToArray(),
            loginUsers = images.Select(v => v.LoginUser).ToArray(),
        }, cancel);
    }

    static Task InsertVmsAsync(NpgsqlTransaction transaction, string host, IReadOnlyList<RecoverableVm> vms,
        DateTime now, CancellationToken cancel) =>
        transaction.ExecuteAsync(RebuildVmSql.Insert, new
        {
            host,
            now,
            ids = vms.Select(v => v.Id).ToArray(),
            emails = vms.Select(v => v.Email).ToArray(),
            names = vms.Select(v => v.Name).ToArray(),
            sizes = vms.Select(v => v.Size).ToArray(),
            images = vms.Select(v => v.Image).ToArray(),
            sums = vms.Select(v => v.ImageSha256).ToArray(),
            loginUsers = vms.Select(v => v.LoginUser).ToArray(),
            created = vms.Select(v => v.Created).ToArray(),
            dollars = vms.Select(v => v.DollarsPerMonth).ToArray(),
            vcpus = vms.Select(v => v.Vcpus).ToArray(),
            memoryMb = vms.Select(v => v.MemoryMb).ToArray(),
            diskGb = vms.Select(v => v.DiskGb).ToArray(),
            wanted = vms.Select(v => v.Wanted).ToArray(),
            generations = vms.Select(v => v.Generation).ToArray(),
            hasRun = vms.Select(v => v.HasRun).ToArray(),
            moves = vms.Select(v => v.Moves).ToArray(),
        }, cancel);

    /// <summary>
    /// The keys of the VMs, which also become keys of their accounts: without one nobody could create another VM.
    /// </summary>
    static async Task InsertKeysAsync(
        NpgsqlTransaction transaction, IReadOnlyList<RecoverableVm> vms, DateTime now, CancellationToken cancel)
    {
        var all = vms.SelectMany(v => v.Keys.Select(k => (Vm: v, Key: k))).ToList();
        await transaction.ExecuteAsync(RebuildVmSql.InsertKeys, new
        {
            vms = all.Select(k => k.Vm.Id).ToArray(),
            names = all.Select(k => k.Key.Name).ToArray(),
            types = all.Select(k => k.Key.Type).ToArray(),
            keys = all.Select(k => k.Key.Key).ToArray(),
        }, cancel);
        var own = new List<(string Email, string Name, SshKey Key)>();
        foreach (var (vm, key) in all)
            if (!SshKey.Parse($"{key.Type} {key.Key}").Refused(out _, out var parsed))
                own.Add((vm.Email, key.Name, parsed));
        await transaction.ExecuteAsync(SshKeySql.AddMissing, new
        {
            now,
            emails = own.Select(k => k.Email).ToArray(),
            names = own.Select(k => k.Name).ToArray(),
            types = own.Select(k => k.Key.Type).ToArray(),
            keys = own.Select(k => k.Key.Key).ToArray(),
            fingerprints = own.Select(k => k.Key.Fingerprint).ToArray(),
        }, cancel);
    }
}
