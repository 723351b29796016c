using System.Security.Cryptography;
using System.Text.Json;
using Capsul.Spoke.Vms;
using Capsul.Wire;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Disks with a little content, so that moves have something to carry and to check: which disk it is, how often it was
/// booted, and the host key and the last key set that its guest has.
/// </summary>
public sealed partial class Simulated
{
    /// <summary>What is on the disk of a machine.</summary>
    public sealed record Content(string DiskId, int Boots, string HostKey, long KeySet = 0);

    /// <summary>What is on each disk of this host.</summary>
    public IReadOnlyDictionary<string, Content> Contents
    {
        get
        {
            lock (gate)
                return machines.Where(m => m.Value.Disk).ToDictionary(m => m.Key, m => m.Value.Content,
                    StringComparer.Ordinal);
        }
    }

    /// <summary>The machines that are on.</summary>
    public IReadOnlySet<string> Running
    {
        get
        {
            lock (gate) return machines.Where(m => m.Value.On).Select(m => m.Key).ToHashSet(StringComparer.Ordinal);
        }
    }

    public Task<DiskExport> ExportDiskAsync(VmSpec vm, string transfer, CancellationToken cancel) =>
        DoAsync(Verb.ExportDisk, () =>
        {
            lock (gate)
            {
                if (machines.GetValueOrDefault(vm.Id) is not { Disk: true } machine)
                    throw HypervisorException.LostDisk(vm.Id);
                if (machine.On) throw new HypervisorException($"{vm.Id} is on.", final: false);
                if (!Has(machine, vm.Disk)) throw HypervisorException.LostDisk(vm.Id);
                var bytes = JsonSerializer.SerializeToUtf8Bytes(Insert(machine, vm.Disk).Content);
                return new DiskExport(new TransferHeader { DiskBytes = bytes.Length }, _ => PartsAsync(bytes));
            }
        }, cancel, lie: new DiskExport(new TransferHeader { DiskBytes = 1 }, _ => PartsAsync([0])));

    static async IAsyncEnumerable<ReadOnlyMemory<byte>> PartsAsync(byte[] bytes)
    {
        foreach (var part in bytes.Chunk(16)) yield return part;
        await Task.CompletedTask;
    }

    public Task DropExportsAsync(string id, CancellationToken cancel) => Task.CompletedTask;

    public Task<string?> FindImportAsync(VmSpec vm, string transfer, CancellationToken cancel)
    {
        lock (gate)
            return Task.FromResult(machines.GetValueOrDefault(vm.Id) is { Disk: true } machine
                && machine.Received?.Transfer == transfer ? machine.Received.Sha256 : null);
    }

    public async Task<string> ImportDiskAsync(
        VmSpec vm, string transfer, IncomingDisk disk, CancellationToken cancel)
    {
        using var all = new MemoryStream();
        await foreach (var part in disk.Content.WithCancellation(cancel)) all.Write(part.Span);
        var bytes = all.ToArray();
        return await DoAsync(Verb.ImportDisk, () =>
        {
            var sum = Convert.ToHexStringLower(SHA256.HashData(bytes));
            if (sum != disk.Sha256()) throw new TransferException("What arrived is not what was sent.");
            lock (gate)
            {
                if (machines.GetValueOrDefault(vm.Id) is { Disk: true })
                    throw new HypervisorException($"There is already a disk of {vm.Id} on this host.", final: true);
                Change(vm.Id, m => m with
                {
                    Disk = true,
                    Number = vm.Disk,
                    Content = Read(bytes),
                    Received = new ReceivedDisk(transfer, sum),
                });
            }
            return sum;
        }, cancel, lie: disk.Sha256(), endsWithCaller: true);
    }

    static Content Read(byte[] bytes)
    {
        try
        {
            if (JsonSerializer.Deserialize<Content>(bytes) is { } content) return content;
        }
        catch (JsonException)
        {
            // As below.
        }
        throw new HypervisorException("What arrived is not a disk.", final: true);
    }
}
