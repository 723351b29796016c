using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Pools;
using Capsul.Hub.Features.Traffic;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Link;

/// <summary>
/// Writes what one host's Spoke reports: each message, or all that arrived meanwhile, is one transaction, fenced by the
/// epoch. What is already known is not written again.
/// </summary>
public sealed class HostReports(
    string host, long epoch, Db db, Fence fence, Settings settings, TimeProvider time, ILogger log)
{
    readonly UnknownVms unknown = new(host, epoch, fence, time, log);
    static readonly TimeSpan Silent = TimeSpan.FromSeconds(Protocol.SilentSeconds);

    /// <summary>
    /// Stores the hello of a new connection: the host's capacity, images and addresses. Returns the token for the
    /// Spoke's next connection, or null if it is too old to know of tokens.
    /// </summary>
    /// <exception cref="RpcException">The host was revoked, or the Spoke is an outdated copy.</exception>
    public async Task<byte[]?> GreetAsync(Hello hello, CancellationToken cancel)
    {
        var facts = Intake.Check(hello);
        var token = hello.Protocol >= 3 ? RandomNumberGenerator.GetBytes(Protocol.TokenBytes) : null;
        var isOriginal = await fence.InTransactionAsync(epoch, async transaction =>
        {
            var silent = Now() - Silent;
            // Nobody knows what its VMs did meanwhile: that time is free.
            if (await transaction.FindAsync<bool>(HostSql.IsSilent, new { id = host, silent }, cancel))
                await ForgetHost.RunAsync(transaction, host, silent, cancel);
            if (token is not null && !await AcceptAsync(transaction, hello, token, cancel)) return false;
            await SaveAsync(transaction, facts, cancel);
            return true;
        }, cancel);
        if (!isOriginal) throw await RefuseCopyAsync(cancel);
        return token;
    }

    async Task<bool> AcceptAsync(NpgsqlTransaction transaction, Hello hello, byte[] token, CancellationToken cancel)
    {
        var before = await transaction.FindAsync<string>(HostSql.BootOf, new { id = host }, cancel);
        var accepted = await transaction.FindAsync<string>(HostSql.AcceptToken, new
        {
            id = host,
            presented = SHA256.HashData(hello.Token.Span),
            given = SHA256.HashData(token),
            epoch,
            bootId = hello.BootId,
        }, cancel) is not null;
        if (accepted && before is { Length: > 0 } && hello.BootId.Length > 0 && before != hello.BootId)
        {
            await transaction.ExecuteAsync(HostSql.Rebooted, new { id = host, now = Now() }, cancel);
            await transaction.AuditAsync($"host {host}", "rebooted", host, "", cancel);
        }
        return accepted;
    }

    async Task<RpcException> RefuseCopyAsync(CancellationToken cancel)
    {
        await AlertCopyAsync(cancel);
        return new RpcException(new Status(StatusCode.PermissionDenied,
            $"This is an outdated copy of the Spoke of {host}: another one has connected with its identity since. If "
            + $"this is the right one, join again with a new token: capsul host invite {host}"));
    }

    /// <summary>Two Spokes have the same identity.</summary>
    public Task AlertCopyAsync(CancellationToken cancel) => fence.InTransactionAsync(epoch, async transaction =>
    {
        await RaiseAlert.InAsync(transaction, settings, RaiseAlert.ClonedSpoke, host,
            $"Two Spokes connect as {host}: one has a copy of the other's data folder. The later one is refused. Stop "
            + $"one of them; to keep the one that is refused: capsul host invite {host}, and join with the token.",
            time, cancel);
        return true;
    }, cancel);

    /// <summary>The Spoke has stored the token that it was given.</summary>
    public Task ConfirmAsync(byte[] token, CancellationToken cancel) => fence.ExecuteAsync(epoch, HostSql.ConfirmToken,
        new { id = host, given = SHA256.HashData(token) }, cancel);

    /// <summary>New images, or other facts that changed during a connection.</summary>
    public Task UpdateAsync(Hello hello, CancellationToken cancel)
    {
        var facts = Intake.Check(hello);
        return fence.InTransactionAsync(epoch, async transaction =>
        {
            await SaveAsync(transaction, facts, cancel);
            return true;
        }, cancel);
    }

    /// <summary>Stores what the Spoke says of its host.</summary>
    public async Task SaveAsync(NpgsqlTransaction transaction, HostFactsRow facts, CancellationToken cancel)
    {
        var isLocal = await transaction.FindAsync<bool?>(HostSql.SaveFacts, new
        {
            id = host,
            now = Now(),
            version = facts.Version,
            hypervisor = facts.Hypervisor,
            cpus = facts.Cpus,
            memoryMb = facts.MemoryMb,
            diskFreeMb = facts.DiskFreeMb,
            diskMb = facts.DiskMb,
            maxVms = facts.MaxVms,
            movesDisks = facts.MovesDisks,
            makesDisksAnew = facts.MakesDisksAnew,
            rescues = facts.Rescues,
            renewsSeeds = facts.RenewsSeeds,
            forwardsUdp = facts.ForwardsUdp,
            givesMoreAddresses = facts.GivesMoreAddresses,
            forwardFirst = facts.Forwards?.First,
            forwardLast = facts.Forwards?.Last,
        }, cancel);
        if (isLocal is null) throw Revoked();
        await PutImagesAsync(transaction, facts.Images, isLocal.Value, cancel);
        await PutAddressesAsync(transaction, facts, cancel);
    }

    async Task PutImagesAsync(
        NpgsqlTransaction transaction, IReadOnlyList<HostImageRow> images, bool isLocal, CancellationToken cancel)
    {
        var known = await transaction.ListAsync<HostImageRow>(ImageSql.OfHost, new { host }, cancel);
        foreach (var i in images.Except(known))
            await transaction.ExecuteAsync(
                ImageSql.PutOfHost,
                new { host, i.Id, i.Sha256, i.Title, i.LoginUser, i.MinDiskGb, i.MinMemoryMb }, cancel);
        if (isLocal)
            foreach (var i in images) await transaction.ExecuteAsync(ImageSql.Offer, new { id = i.Id, host }, cancel);
        var ids = images.Select(i => i.Id).ToArray();
        if (known.Any(k => !ids.Contains(k.Id, StringComparer.Ordinal)))
            await transaction.ExecuteAsync(ImageSql.ClearOfHost, new { host, images = ids }, cancel);
    }

    async Task PutAddressesAsync(NpgsqlTransaction transaction, HostFactsRow facts, CancellationToken cancel)
    {
        var addresses = facts.Addresses.Select(a => a.ToString()).ToArray();
        if (await transaction.FindAsync<int>(AddressSql.Count, new { host, addresses }, cancel) != addresses.Length)
            await transaction.ExecuteAsync(
                AddressSql.Put, new { host, addresses, macs = facts.Addresses.Select(Ipv4.Mac).ToArray() }, cancel);
        await transaction.ExecuteAsync(AddressSql.Drop, new { host, addresses }, cancel);
        await transaction.ExecuteAsync(PoolSql.Put, new
        {
            host,
            families = facts.Pools.Select(p => (short)p.Family).ToArray(),
            networks = facts.Pools.Select(p => p.Network).ToArray(),
            gateways = facts.Pools.Select(p => p.Gateway).ToArray(),
            firsts = facts.Pools.Select(p => p.First).ToArray(),
            lasts = facts.Pools.Select(p => p.Last).ToArray(),
        }, cancel);
        await transaction.ExecuteAsync(
            PoolSql.Drop, new { host, families = facts.Pools.Select(p => (short)p.Family).ToArray() }, cancel);
        await transaction.ExecuteAsync(AddressSql.SetSix, new { host }, cancel);
    }

    /// <summary>Reports on some VMs of the host, or, as an inventory, on all.</summary>
    public async Task TakeInAsync(
        IReadOnlyList<VmObservation> reports, bool isInventory, CancellationToken cancel)
    {
        var ids = reports.Select(r => r.Id).ToArray();
        var vms = (await db.ListAsync<ObservedRow>(
            isInventory ? ObserveVmSql.FindAll : ObserveVmSql.Find, new { ids, host }, cancel))
            .ToDictionary(v => v.Id, StringComparer.Ordinal);
        var others = await TakeInCopiesAsync([.. reports.Where(r => !vms.ContainsKey(r.Id))], cancel);
        await unknown.TakeInAsync(others, isInventory, cancel);
        var news = reports.Where(r => vms.TryGetValue(r.Id, out var vm) && ObserveVm.IsNews(vm, r, epoch)).ToList();
        if (news.Count > 0)
            await fence.InTransactionAsync(epoch, async transaction =>
            {
                await ObserveVm.RunAsync(transaction, host, news, epoch, settings, time, cancel);
                return true;
            }, cancel);
        if (isInventory) await CompareAsync(vms.Values, ids, cancel);
    }

    /// <summary>What VMs of the host have used.</summary>
    public Task TakeInAsync(IReadOnlyList<VmCounters> used, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            await TakeInUsage.RunAsync(transaction, host, used, settings, time, cancel);
            return true;
        }, cancel);

    /// <summary>All foreign machines of the host.</summary>
    public Task TakeInAsync(IReadOnlyList<ForeignMachineRow> machines, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            await transaction.ExecuteAsync(ForeignMachineSql.DropOthers,
                new { host, uuids = machines.Select(m => m.Uuid).ToArray() }, cancel);
            await transaction.ExecuteAsync(ForeignMachineSql.Put, new
            {
                host,
                uuids = machines.Select(m => m.Uuid).ToArray(),
                names = machines.Select(m => m.Name).ToArray(),
                powers = machines.Select(m => m.Power).ToArray(),
                vcpus = machines.Select(m => m.Vcpus).ToArray(),
                memoryMb = machines.Select(m => m.MemoryMb).ToArray(),
                diskGb = machines.Select(m => m.DiskGb).ToArray(),
                formats = machines.Select(m => m.DiskFormat).ToArray(),
                macs = machines.Select(m => m.Mac).ToArray(),
                refusals = machines.Select(m => m.Refusal).ToArray(),
            }, cancel);
            return true;
        }, cancel);

    /// <summary>Reports on VMs of other hosts, of which this one has a copy. Returns the rest.</summary>
    async Task<IReadOnlyList<VmObservation>> TakeInCopiesAsync(
        IReadOnlyList<VmObservation> reports, CancellationToken cancel)
    {
        if (reports.Count == 0) return reports;
        var ids = reports.Select(r => r.Id).ToArray();
        var copies = (await db.ListAsync<CopyRow>(MoveSql.FindCopies, new { ids, host }, cancel))
            .ToDictionary(c => c.Vm, StringComparer.Ordinal);
        var news = reports.Where(r => copies.TryGetValue(r.Id, out var copy) && ObserveCopies.IsNews(copy, r, epoch))
            .ToList();
        if (news.Count > 0)
            await fence.InTransactionAsync(epoch, async transaction =>
            {
                await ObserveCopies.RunAsync(transaction, host, news, epoch, Now(), cancel);
                return true;
            }, cancel);
        return [.. reports.Where(r => !copies.ContainsKey(r.Id))];
    }

    /// <summary>
    /// A Spoke whose data folder was emptied or replaced has lost VMs that it ran. Nothing is deleted, and no disk is
    /// made again; somebody must look.
    /// </summary>
    Task CompareAsync(IEnumerable<ObservedRow> vms, string[] reported, CancellationToken cancel)
    {
        var there = reported.ToHashSet(StringComparer.Ordinal);
        // A machine that is being adopted has run, but the Spoke may not have heard of it yet.
        var ran = vms.Where(v => v is { Deleted: null, HasRun: true }
            && v is not { State: "creating", ObservedAt: null }).ToList();
        var missing = ran.Count(v => !there.Contains(v.Id));
        return fence.InTransactionAsync(epoch, async transaction =>
        {
            if (missing == 0) await RaiseAlert.ClearAsync(transaction, RaiseAlert.HostEmptied, host, time, cancel);
            else
                await RaiseAlert.InAsync(transaction, settings, RaiseAlert.HostEmptied, host,
                    $"{host} no longer knows {missing} of its {ran.Count} VMs: its data folder was emptied or "
                    + "replaced. Nothing was deleted, and no disk will be made again. Restore the folder, or delete "
                    + "those VMs.", time, cancel);
            return true;
        }, cancel);
    }

    /// <summary>There is no such host any more: it was renamed, or removed. The next connection says which.</summary>
    public static RpcException Renamed() => new(new Status(StatusCode.Unavailable,
        "This host has another name now, or was removed. Connect again."));

    public static RpcException Revoked() => new(new Status(StatusCode.PermissionDenied, "This host was revoked."));

    DateTime Now() => time.GetUtcNow().UtcDateTime;
}
