using Capsul.Foundation;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Finds the host of a new VM and locks it, so that the capacity stays free until the VM's row is inserted. Two creates
/// at the same time take different hosts; only when every host with room is locked does one wait for the other.
/// </summary>
public static class FindPlace
{
    /// <summary>How many hosts are compared, those with the most free memory.</summary>
    const int Compared = 16;

    /// <summary>A locked host, or the reason why there is none.</summary>
    public static async Task<Outcome<PlaceRow>> InAsync(
        NpgsqlTransaction transaction, string email, SizeRow size, ImageRow image, Settings settings,
        DateTime now, CancellationToken cancel)
    {
        // Hosts that turned out to be full after all; each round adds one, so there is an end.
        var full = new List<string>();
        while (true)
        {
            var needs = new
            {
                email,
                image = image.Id,
                size.MemoryMb,
                size.DiskGb,
                size.Vcpus,
                diskFactor = settings.DiskOvercommit,
                buildSlots = settings.BuildSlots,
                not = full.ToArray(),
                limit = Compared,
                now,
            };
            var host = await transaction.FindAsync<string>(PlaceSql.SaveAndLockFree, needs, cancel);
            if (host is null)
            {
                host = await transaction.FindAsync<string>(PlaceSql.FindBest, needs, cancel);
                if (host is null) break;
                await transaction.FindAsync<string>(PlaceSql.Lock, new { host }, cancel);
            }
            if (await transaction.FindAsync<PlaceRow>(PlaceSql.Check,
                new
                {
                    host,
                    needs.image,
                    needs.MemoryMb,
                    needs.DiskGb,
                    needs.diskFactor,
                    needs.buildSlots,
                    now,
                }, cancel) is { } place)
                return place;
            // Unlocks it: waiting for one host with another locked could become a deadlock.
            await transaction.RollbackAsync(PlaceSql.Before, cancel);
            full.Add(host);
        }
        var shortage = await transaction.AskAsync<ShortageRow>(
            PlaceSql.Shortage, new { image = image.Id, diskFactor = settings.DiskOvercommit, now }, cancel);
        return Explain(size, image, shortage);
    }

    /// <summary>One sentence about what is short, and what can be done about it.</summary>
    public static Problem Explain(SizeRow size, ImageRow image, ShortageRow has)
    {
        if (has.Online == 0)
            return new(ProblemKind.NoCapacity, "No host is online that accepts new capsuls. Try again later.");
        if (has.WithImage == 0)
            return new(ProblemKind.NoCapacity,
                $"No host that is online has the image {image.Title} yet. Choose another, or try again later.");
        var (why, smaller) = has switch
        {
            { Addresses: false, Pools: "" } => ("all addresses are in use", false),
            { Addresses: false } => ($"all addresses are in use on {has.Pools}", false),
            { Ports: <= 0 } => ("all ports for SSH are in use", false),
            { DiskFree: false } => ("the disks are full", false),
            _ when has.Memory < size.MemoryMb => ($"it needs {Show.Memory(size.MemoryMb)} of memory, and the most that "
                + $"is free on a host is {Show.Memory((int)Math.Max(0, has.Memory))}", true),
            _ when has.Disk < size.DiskGb => ($"it needs a disk of {size.DiskGb} GiB, and the most that is free on a "
                + $"host is {Math.Max(0, (long)has.Disk!.Value)} GiB", true),
            _ => ("no host has enough memory, disk, ports and addresses at the same time", true),
        };
        return new(ProblemKind.NoCapacity, $"No host has room for a capsul of size {size.Id} right now: {why}. "
            + (smaller ? "Try a smaller size, or try again later." : "Try again later."));
    }
}
