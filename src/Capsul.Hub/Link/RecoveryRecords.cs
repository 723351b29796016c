using System.Globalization;
using Capsul.Hub.Features.Hosts;
using Capsul.Wire;
using Google.Protobuf;

namespace Capsul.Hub.Link;

/// <summary>
/// Writes the recovery record of a VM, which its Spoke keeps: what this Hub needs to have the VM again when its
/// database is lost. Signed, because a Spoke must not be able to change the owner or the price.
/// </summary>
static class RecoveryRecords
{
    const long TicksPerMicrosecond = TimeSpan.TicksPerMicrosecond;

    public static void AddTo(WantedVm vm, WantedRow row, string host, long epoch, Authority authority)
    {
        var record = new VmRecoveryRecord
        {
            Id = vm.Id,
            Host = host,
            Epoch = epoch,
            Generation = vm.Generation,
            Email = row.Email,
            Name = vm.Name,
            Size = row.Size,
            DollarsPerMonth = row.DollarsPerMonth.ToString(CultureInfo.InvariantCulture),
            Vcpus = vm.Vcpus,
            MemoryMb = vm.MemoryMb,
            DiskGb = vm.DiskGb,
            // A reinstall that is going on is undone with the database: the disk before it was kept.
            ImageId = row.Image,
            ImageSha256 = row.ImageSha256,
            LoginUser = row.LoginUser,
            CreatedUnixUs = (row.Created.ToUniversalTime() - DateTime.UnixEpoch).Ticks / TicksPerMicrosecond,
            Wanted = row.Intended switch { "on" => Power.On, "off" => Power.Off, _ => Power.Gone },
            Mac = vm.Mac,
            Address = vm.Address,
            Address6 = vm.Address6,
            HasRun = row.HasRun,
            Moves = vm.Moves,
            Firewall = new WantedFirewall(vm.Firewall) { Owner = "" },
        };
        record.SshKeys.AddRange(row.KeyNames.Split('\n').Zip(Lines(row.Keys), (name, line) =>
            new NamedSshKey { Name = name, Line = line }));
        record.Further.AddRange(Lines(row.Further).Select(l => l.Split(' '))
            .Select(w => new FurtherAddress { Address = w[0], DollarsPerMonth = w[1] }));
        vm.Record = record.ToByteString();
        vm.Signature = ByteString.CopyFrom(authority.SignRecord(vm.Record.ToByteArray()));
    }

    static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
