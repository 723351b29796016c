using System.Security.Cryptography;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Wire;

namespace Capsul.Chaos;

/// <summary>
/// Disks on their way between the hosts of the world, without a network: what is sent waits until the receiver takes
/// it, while both are connected and the sender still wants to send. Any attempt may break off, or arrive damaged.
/// Nothing here waits, so that a round is one step.
/// </summary>
sealed class PretendedTransfers(World world, Host host, Dictionary<string, (Host From, DiskExport Disk)> offers)
    : ITransfers
{
    public Task SendAsync(string id, DiskExport disk, CancellationToken cancel)
    {
        if (host.Connection is null) throw new TransferException("There is no connection to the Hub.");
        offers[id] = (host, disk);
        return Task.CompletedTask;
    }

    public async Task<string> ReceiveAsync(
        string id, Func<IncomingDisk, Task<string>> import, CancellationToken cancel)
    {
        if (host.Connection is null || !offers.TryGetValue(id, out var offer) || offer.From.Connection is null
            || !Sends(offer.From, id))
            throw new TransferException("The other host is not there yet.");
        using var all = new MemoryStream();
        await foreach (var part in offer.Disk.ReadAsync(cancel)) all.Write(part.Span);
        var bytes = all.ToArray();
        var sum = Convert.ToHexStringLower(SHA256.HashData(bytes));
        switch (world.Random.Next(10))
        {
            case 0:
                throw new TransferException("The transfer broke off.");
            case 1:
                bytes[world.Random.Next(bytes.Length)] ^= 1;
                break;
        }
        world.Report.Count("a disk is on its way");
        return await import(new IncomingDisk(offer.Disk.Header, PartsAsync(bytes), () => sum));
    }

    static bool Sends(Host from, string id) => from.Vms?.Reconcilers.Any(r =>
        r.Record.Wanted.Transfer is { Direction: Direction.Send } transfer && transfer.Id == id) == true;

    static async IAsyncEnumerable<ReadOnlyMemory<byte>> PartsAsync(byte[] bytes)
    {
        foreach (var part in bytes.Chunk(16)) yield return part;
        await Task.CompletedTask;
    }
}
