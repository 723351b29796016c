using System.Net;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>
/// What the Spoke keeps on disk of one VM: what the Hub last wanted, and what only the Spoke knows. Enough to go on without the Hub.
/// </summary>
/// <param name="Wanted">The last wanted record that was taken in.</param>
/// <param name="RestartsDone">Answers <see cref="WantedVm.Restarts"/>.</param>
/// <param name="SshPort">Port of the relay on this host; 0 until it listens.</param>
/// <param name="StoppedItself">Generation under which the guest was seen to turn itself off; it is not started again before a newer one.</param>
/// <param name="HostKeys">As read over the console, type and base64.</param>
public sealed record VmRecord(
    WantedVm Wanted, int RestartsDone, int SshPort, long StoppedItself, IReadOnlyList<SshHostKey> HostKeys)
{
    public VmSpec Spec => new(
        Wanted.Id, Wanted.Name, Wanted.Vcpus, Wanted.MemoryMb, Wanted.DiskGb, Wanted.ImageId, Wanted.ImageSha256,
        Wanted.Mac, IPAddress.Parse(Wanted.Address), [.. Wanted.SshKeys]);
}

/// <summary>The records, one file a VM in <c>spoke/vms</c>, written whole or not at all.</summary>
public sealed class VmRecords(string folder)
{
    sealed record Stored(string Wanted, int RestartsDone, int SshPort, long StoppedItself, List<StoredKey> HostKeys);

    sealed record StoredKey(string Type, string Key);

    public IReadOnlyList<VmRecord> LoadAll()
    {
        Directory.CreateDirectory(folder);
        return [.. Directory.GetFiles(folder, "capsul-*.json").Select(Load)];
    }

    static VmRecord Load(string file)
    {
        try
        {
            var stored = JsonSerializer.Deserialize<Stored>(System.IO.File.ReadAllText(file))!;
            return new VmRecord(WantedVm.Parser.ParseJson(stored.Wanted), stored.RestartsDone, stored.SshPort, stored.StoppedItself,
                [.. stored.HostKeys.Select(k => new SshHostKey { Type = k.Type, Key = k.Key })]);
        }
        catch (Exception error) when (error is JsonException or Google.Protobuf.InvalidProtocolBufferException or NullReferenceException)
        {
            throw new ProblemException(ProblemKind.Unavailable, $"The record {file} cannot be read: {error.Message} Restore it from a backup, or move it away to give that VM up.", null, error);
        }
    }

    public Task SaveAsync(VmRecord record, CancellationToken cancel) => DataFolder.WriteWholeAsync(
        File(record.Wanted.Id),
        JsonSerializer.SerializeToUtf8Bytes(new Stored(
            Google.Protobuf.JsonFormatter.Default.Format(record.Wanted), record.RestartsDone, record.SshPort, record.StoppedItself,
            [.. record.HostKeys.Select(k => new StoredKey(k.Type, k.Key))])), cancel);

    public void Delete(string id)
    {
        System.IO.File.Delete(File(id));
        // What a crash or a full disk left of a write.
        System.IO.File.Delete(File(id) + ".new");
    }

    string File(string id) => Path.Combine(folder, id + ".json");
}
