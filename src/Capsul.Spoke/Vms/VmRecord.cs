using System.Net;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>
/// What the Spoke stores on disk for one VM: the last wanted state, and what only the Spoke knows. Enough to continue
/// without the Hub.
/// </summary>
/// <param name="Epoch">The epoch of <paramref name="Wanted"/>; 0 in records of older versions.</param>
/// <param name="Wanted">The last wanted state that was accepted.</param>
/// <param name="RestartsDone">Answers <see cref="WantedVm.Restarts"/>.</param>
/// <param name="SshPort">Port of the relay on this host; 0 until it listens.</param>
/// <param name="StoppedItself">Generation under which the guest shut itself down; it is not started again under the
/// same one.</param>
/// <param name="RanUnder">The newest generation under which it was seen running; 0: never, so its disk may be
/// created.</param>
/// <param name="HostKeys">As read over the console, type and base64.</param>
/// <param name="AskedAt">When this Spoke last asked the guest to shut down, seconds since 1970; 0: never.</param>
/// <param name="Started">It may have been on since its disk came to this host.</param>
/// <param name="Received">The disk that was received, and verified, for a move to this host.</param>
/// <param name="MovesSeen">The highest <see cref="WantedVm.Moves"/> of all wanted states.</param>
/// <param name="Disk">The disk that it has.</param>
/// <param name="OldDisk">The one before, while that is kept.</param>
/// <param name="RescueKeys">Host keys of the rescue system that is wanted.</param>
/// <param name="KeySetTaken">The last key set that the guest has said to have; 0: none.</param>
public sealed record VmRecord(
    long Epoch, WantedVm Wanted, int RestartsDone, int SshPort,
    long StoppedItself, long RanUnder, IReadOnlyList<SshHostKey> HostKeys, long AskedAt = 0,
    bool Started = false, ReceivedDisk? Received = null, int MovesSeen = 0, VmDisk? Disk = null, VmDisk? OldDisk = null,
    IReadOnlyList<SshHostKey>? RescueKeys = null, long KeySetTaken = 0)
{
    /// <summary>The record of a VM that is new to this Spoke.</summary>
    public static VmRecord New(long epoch, WantedVm wanted) =>
        new(epoch, wanted, wanted.Restarts, 0, 0, 0, [.. wanted.HostKeys], MovesSeen: wanted.Moves);

    /// <summary>Records of older versions do not name it: it is the first.</summary>
    public VmDisk Disk { get; init; } = Disk ?? VmDisk.Of(Wanted);

    public VmSpec Spec => new(
        Wanted.Id, Wanted.Name, Wanted.Vcpus, Wanted.MemoryMb, Wanted.DiskGb, Disk.ImageId, Disk.ImageSha256,
        Wanted.Mac, IPAddress.Parse(Wanted.Address), [.. Wanted.SshKeys], Wanted.HasRun || RanUnder > 0)
    {
        Adopt = Wanted.Adopt,
        Disk = Disk.Number,
        Address6 = Wanted.Address6.Length > 0 ? IPAddress.Parse(Wanted.Address6) : null,
        Further = [.. Wanted.FurtherAddresses.Select(IPAddress.Parse)],
        Firewall = Firewall.Of(Wanted.Firewall),
        Rescue = Wanted.Rescue is { } rescue
            ? new RescueSystem(rescue.Number, rescue.ImageId, rescue.ImageSha256, [.. rescue.SshKeys]) : null,
        KeySet = Wanted.KeySet is { } set ? new KeySet(set.Number, set.LoginUser) : null,
    };

    /// <summary>
    /// The Hub's database is older than one that has put the VM on another host, or here: it was restored from a
    /// backup, and knows nothing of a move.
    /// </summary>
    public bool IsOutdated => Wanted.Moves < MovesSeen;

    public bool HasRunHere => Started || RanUnder > 0;

    /// <summary>
    /// Whether (epoch, generation) is newer. The epoch is compared first: after a restore the database counts
    /// generations from where the backup was, under an epoch higher than all before.
    /// </summary>
    public bool IsOlderThan(long epoch, long generation) =>
        epoch > Epoch || (epoch == Epoch && generation > Wanted.Generation);

    /// <summary>
    /// Whether it is this wanted state with a firewall, which an older version of the Spoke has dropped.
    /// </summary>
    public bool LacksFirewallOf(long epoch, WantedVm wanted) =>
        (epoch, wanted.Generation) == (Epoch, Wanted.Generation) && Wanted.Firewall is null
        && wanted.Firewall is not null;

    /// <summary>The record with a newer wanted state. Generations of an earlier epoch are translated.</summary>
    public VmRecord Answering(long epoch, WantedVm wanted) => Take(epoch, wanted).Choose(wanted);

    VmRecord Take(long epoch, WantedVm wanted) => this with
    {
        Epoch = epoch,
        Wanted = wanted,
        // The same generation under a newer epoch is the same wanted state: a guest that stopped itself stays off.
        StoppedItself = wanted.Generation == Wanted.Generation ? StoppedItself
            : StoppedItself == Wanted.Generation && IsOnlyReach(epoch, wanted) ? wanted.Generation : 0,
        RanUnder = wanted.Generation == Wanted.Generation || RanUnder == 0
            ? RanUnder
            : RanUnder == Wanted.Generation && IsOnlyReach(epoch, wanted) ? wanted.Generation
            : Math.Min(RanUnder, wanted.Generation - 1),
        // A restore may have reset the restart counter; from here on the Hub's value counts.
        RestartsDone = Math.Min(RestartsDone, wanted.Restarts),
        HostKeys = HostKeys.Count == 0 ? [.. wanted.HostKeys] : HostKeys,
        MovesSeen = Math.Max(MovesSeen, wanted.Moves),
        RescueKeys = RescueOf(wanted) == RescueOf(Wanted) ? RescueKeys : null,
    };

    static long RescueOf(WantedVm wanted) => wanted.Rescue?.Number ?? 0;

    /// <summary>
    /// The disk that is wanted. A database that knows less of the VM's disks does not undo what is done: the newest
    /// stays, unless the one before it was kept.
    /// </summary>
    VmRecord Choose(WantedVm wanted)
    {
        var asked = VmDisk.Of(wanted);
        if (asked.Number == Disk.Number)
            return this with { Disk = asked, OldDisk = wanted.KeepsOldDisk ? OldDisk : null };
        if (asked.Number > Disk.Number) return Using(asked, Disk);
        return OldDisk?.Number == asked.Number ? Using(OldDisk, null) : this;
    }

    /// <summary>Another disk: what is known of the guest is not of that one.</summary>
    VmRecord Using(VmDisk disk, VmDisk? old) =>
        this with { Disk = disk, OldDisk = old, HostKeys = [], RanUnder = 0, Started = false };

    /// <summary>
    /// Only who may reach the VM, and how, is new: that does not start a guest that has shut itself down. If nothing
    /// differs, it was turned off and on again, and only the last of it was heard of here.
    /// </summary>
    bool IsOnlyReach(long epoch, WantedVm wanted) => epoch == Epoch
        && (wanted.Power, wanted.Restarts, wanted.Moves, RescueOf(wanted))
            == (Wanted.Power, Wanted.Restarts, Wanted.Moves, RescueOf(Wanted))
        && !(Equals(wanted.Firewall, Wanted.Firewall) && wanted.Ports.Equals(Wanted.Ports)
            && wanted.FurtherAddresses.Equals(Wanted.FurtherAddresses)
            && wanted.SshKeys.Equals(Wanted.SshKeys) && wanted.KeepsOldDisk == Wanted.KeepsOldDisk);

    /// <summary>The host keys of a rescue system; 0: of the VM itself.</summary>
    public IReadOnlyList<SshHostKey> KeysOf(long rescue) =>
        rescue == 0 ? HostKeys : rescue == RescueOf(Wanted) ? RescueKeys ?? [] : [];

    /// <summary>The record with these host keys, as above; the same object if they have not changed.</summary>
    public VmRecord Keys(long rescue, IReadOnlyList<SshHostKey> keys) => keys.SequenceEqual(KeysOf(rescue)) ? this
        : rescue == 0 ? this with { HostKeys = keys }
        : rescue == RescueOf(Wanted) ? this with { RescueKeys = keys } : this;

    /// <summary>The guest has said on its console that it has this key set; 0: it has said nothing.</summary>
    public VmRecord Took(long keySet) => keySet > KeySetTaken ? this with { KeySetTaken = keySet } : this;
}

/// <summary>A disk of a VM, and the image that it was made of.</summary>
public sealed record VmDisk(long Number, string ImageId, string ImageSha256)
{
    public static VmDisk Of(WantedVm wanted) => new(wanted.Disk, wanted.ImageId, wanted.ImageSha256);
}

/// <summary>A disk that has arrived by a transfer; its checksum, lower-case hex.</summary>
public sealed record ReceivedDisk(string Transfer, string Sha256);

/// <summary>
/// Holds a VM's record and is its only writer, one write at a time and always the newest: changes by the Hub and by the
/// reconciler come from different threads.
/// </summary>
public sealed partial class RecordWriter(VmRecord record, VmRecords records, ILogger log)
{
    readonly Lock gate = new();
    VmRecord current = record;
    VmRecord? written;

    public VmRecord Current
    {
        get { lock (gate) return current; }
    }

    /// <summary>Changes the record and writes it if it differs. Returns the new record.</summary>
    public VmRecord Change(Func<VmRecord, VmRecord> change)
    {
        lock (gate)
        {
            current = change(current);
            Write();
            return current;
        }
    }

    /// <summary>Whether the record on disk is current; tries to write it if it is not.</summary>
    public bool Flush()
    {
        lock (gate)
        {
            Write();
            return current == written;
        }
    }

    public void Delete()
    {
        lock (gate) records.Delete(current.Wanted.Id);
    }

    /// <summary>
    /// If it fails (the disk is full) it is retried with the next change, and before anything is created or started.
    /// </summary>
    void Write()
    {
        if (current == written) return;
        try
        {
            records.Save(current);
            written = current;
        }
        catch (IOException error)
        {
            Log.NotWritten(log, current.Wanted.Id, error.Message);
        }
    }

    static partial class Log
    {
        [LoggerMessage(412, LogLevel.Error, "VM {Vm}: the record could not be written: {Why}")]
        public static partial void NotWritten(ILogger log, string vm, string why);
    }
}

/// <summary>The records, one file per VM in <c>spoke/vms</c>, written atomically.</summary>
public sealed partial class VmRecords(string folder, ILogger log)
{
    sealed record Stored(
        string Wanted, int RestartsDone, int SshPort, long StoppedItself,
        List<StoredKey> HostKeys, long Epoch = 0, long? RanUnder = null, long AskedAt = 0,
        bool Started = false, ReceivedDisk? Received = null, int MovesSeen = 0, VmDisk? Disk = null,
        VmDisk? OldDisk = null, List<StoredKey>? RescueKeys = null, long KeySetTaken = 0);

    sealed record StoredKey(string Type, string Key);

    /// <summary>
    /// All readable records. An unreadable one is renamed and logged: the Hub resends its wanted state, and one broken
    /// file must not keep the other VMs of the host off.
    /// </summary>
    public IReadOnlyList<VmRecord> LoadAll()
    {
        Directory.CreateDirectory(folder);
        // Left by a crash between two deletions.
        foreach (var kept in Directory.GetFiles(folder, "capsul-*.record"))
            if (!System.IO.File.Exists(Path.ChangeExtension(kept, ".json"))) System.IO.File.Delete(kept);
        return [.. Directory.GetFiles(folder, "capsul-*.json")
            .Order(StringComparer.Ordinal).Select(Load).OfType<VmRecord>()];
    }

    VmRecord? Load(string file)
    {
        try
        {
            var stored = JsonSerializer.Deserialize<Stored>(System.IO.File.ReadAllText(file))!;
            var wanted = WantedVm.Parser.ParseJson(stored.Wanted);
            if (wanted.Id != Path.GetFileNameWithoutExtension(file) || !WantedCheck.IsSound(wanted))
                throw new JsonException("it is not a VM's record");
            // Older versions did not record whether it had run; a VM that was ever running has a port.
            return new VmRecord(stored.Epoch, wanted, stored.RestartsDone, stored.SshPort, stored.StoppedItself,
                stored.RanUnder ?? (stored.SshPort > 0 ? wanted.Generation : 0),
                [.. stored.HostKeys.Select(FromStored)], stored.AskedAt,
                stored.Started, stored.Received, stored.MovesSeen, stored.Disk, stored.OldDisk,
                stored.RescueKeys?.Select(FromStored).ToList(), stored.KeySetTaken);
        }
        catch (Exception error)
            when (error is JsonException or InvalidProtocolBufferException or NullReferenceException)
        {
            Log.Unreadable(log, file, error.Message);
            System.IO.File.Move(file, file + ".unreadable", overwrite: true);
            return null;
        }
    }

    /// <exception cref="IOException">The disk is full or broken; the old record is unchanged.</exception>
    public void Save(VmRecord record) => DataFolder.WriteWhole(
        File(record.Wanted.Id),
        JsonSerializer.SerializeToUtf8Bytes(new Stored(
            JsonFormatter.Default.Format(record.Wanted), record.RestartsDone, record.SshPort,
            record.StoppedItself, [.. record.HostKeys.Select(ToStored)], record.Epoch,
            record.RanUnder, record.AskedAt, record.Started, record.Received, record.MovesSeen, record.Disk,
            record.OldDisk, record.RescueKeys?.Select(ToStored).ToList(), record.KeySetTaken)));

    static SshHostKey FromStored(StoredKey key) => new() { Type = key.Type, Key = key.Key };

    static StoredKey ToStored(SshHostKey key) => new(key.Type, key.Key);

    /// <summary>
    /// Keeps the Hub's signed recovery record of a VM, in a file of its own; what is there already is not written
    /// again.
    /// </summary>
    /// <exception cref="IOException">The disk is full or broken; the old one is unchanged.</exception>
    public void Keep(KeptRecord kept)
    {
        if (!kept.Equals(FindKept(kept.Id))) DataFolder.WriteWhole(KeptFile(kept.Id), kept.ToByteArray());
    }

    /// <summary>The recovery record of a VM; null if there is none, or it cannot be read.</summary>
    public KeptRecord? FindKept(string id)
    {
        try
        {
            return System.IO.File.Exists(KeptFile(id))
                ? KeptRecord.Parser.ParseFrom(System.IO.File.ReadAllBytes(KeptFile(id))) : null;
        }
        catch (Exception error) when (error is InvalidProtocolBufferException or IOException)
        {
            Log.Unreadable(log, KeptFile(id), error.Message);
            return null;
        }
    }

    public void Delete(string id)
    {
        System.IO.File.Delete(File(id));
        System.IO.File.Delete(KeptFile(id));
    }

    string File(string id) => Path.Combine(folder, id + ".json");

    string KeptFile(string id) => Path.Combine(folder, id + ".record");

    static partial class Log
    {
        [LoggerMessage(413, LogLevel.Error, "The record {File} cannot be read and was set aside: {Why}")]
        public static partial void Unreadable(ILogger log, string file, string why);
    }
}
