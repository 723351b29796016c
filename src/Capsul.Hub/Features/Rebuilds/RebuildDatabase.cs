using Capsul.Foundation;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Rebuilds;

/// <summary>
/// Opens and finishes the rebuild of a lost database. The first one, in an empty database, brings back the key ring, so
/// that Spokes accept this Hub, and raises the epoch far above that of the lost one, so that they follow it. Later ones
/// only let in hosts that were away.
/// </summary>
public static class RebuildDatabase
{
    const string Actor = "cli";

    /// <summary>The refusal, or null.</summary>
    /// <param name="contents">Of the database.</param>
    /// <param name="hasAuthority">The key ring has an authority already.</param>
    /// <param name="copy">From the data folder.</param>
    public static Problem? Decide(ContentsRow contents, bool hasAuthority, RecoveryCopy? copy)
    {
        if (contents.WasRebuilt) return null;
        if (!contents.IsEmpty)
            return new(ProblemKind.Conflict, "This database has accounts or VMs and is not the result of a rebuild: "
                + "only an empty one can be rebuilt. Nothing was changed.");
        return hasAuthority || copy?.Authority is not null ? null : new(ProblemKind.NotFound,
            "hub/recovery.json is missing in the data folder, with the key of the authority that the Spokes trust. "
            + "Copy it there from a backup of the data folder, or from that of another Hub on the lost database.");
    }

    /// <summary>Opens a rebuild, unless one is open.</summary>
    /// <exception cref="ProblemException">Why this database cannot be rebuilt.</exception>
    public static async Task OpenAsync(
        Db db, KeyRing ring, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        if (await db.AskAsync<bool>(RebuildSql.IsOpen, null, cancel)) return;
        var contents = (await db.FindAsync<ContentsRow>(RebuildSql.Contents, null, cancel))!;
        // The first one changes what an active Hub has in memory.
        await using var seat = contents.WasRebuilt ? null : await SeatLock.TakeAsync(db, "capsul rebuild", cancel);
        var copy = RecoveryCopy.Load(settings);
        var present = (await ring.ListSealedAsync(cancel)).FirstOrDefault(k => k.Name == RecoveryCopy.AuthorityName);
        (await db.DecideAsync<bool>(async transaction =>
        {
            contents = (await transaction.FindAsync<ContentsRow>(RebuildSql.Contents, null, cancel))!;
            if ((Decide(contents, present is not null, copy) ?? Differs(present, copy)) is { } problem) return problem;
            if (!contents.WasRebuilt) await PrepareAsync(transaction, ring, copy, cancel);
            await transaction.ExecuteAsync(RebuildSql.Start, new
            {
                now = time.GetUtcNow().UtcDateTime,
                expected = (copy?.Hosts ?? []).ToArray(),
            }, cancel);
            await transaction.ExecuteAsync(DunningPageSql.Pause,
                new { reason = "the database was rebuilt without payments: record what each account had" }, cancel);
            await transaction.ExecuteAsync(DunningPageSql.LosePayments, null, cancel);
            await transaction.AuditAsync(Actor, "open_rebuild", "", "", cancel);
            return true;
        }, cancel)).OrThrow();
    }

    static Problem? Differs(KeyRingRow? present, RecoveryCopy? copy) =>
        present is null || copy?.Authority is not { } kept || kept.Content.AsSpan().SequenceEqual(present.Content)
            ? null
            : new(ProblemKind.Conflict, "This database has an authority of its own, because a Hub was started on it; "
                + "the Spokes trust the one in hub/recovery.json. Rebuild into a new, empty database.");

    static async Task PrepareAsync(
        NpgsqlTransaction transaction, KeyRing ring, RecoveryCopy? copy, CancellationToken cancel)
    {
        await ring.AddSealedAsync(transaction, copy?.Keys ?? [], cancel);
        await transaction.AskAsync<long>(SeatSql.LiftOver, new { epoch = copy?.Epoch ?? 0 }, cancel);
        await transaction.ExecuteAsync(
            HostSql.AddRevoked, new { ids = (copy?.Revoked ?? []).ToArray() }, cancel);
    }

    /// <summary>Ends the rebuild: from now on the hosts get their wanted states. False: none is open.</summary>
    public static async Task<bool> FinishAsync(Db db, TimeProvider time, CancellationToken cancel) =>
        (await db.DecideAsync<bool>(async transaction =>
        {
            if (await transaction.FindAsync<OpenRebuildRow>(RebuildSql.LockOpen, null, cancel) is not { } open)
                return false;
            var hosts = await transaction.ListAsync<RebuiltHostRow>(
                RebuildSql.Hosts, new { rebuild = open.Id }, cancel);
            await transaction.ExecuteAsync(
                RebuildSql.Finish, new { id = open.Id, now = time.GetUtcNow().UtcDateTime }, cancel);
            await transaction.ExecuteAsync(
                HostSql.NextGenerations, new { ids = hosts.Select(h => h.Host).ToArray() }, cancel);
            await transaction.AuditAsync(Actor, "finish_rebuild", "", $"{hosts.Count} hosts", cancel);
            return true;
        }, cancel)).OrThrow();
}
