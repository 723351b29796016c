using System.Globalization;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>Recovery records that were checked: those to be taken in, and a sentence for each of the others.</summary>
public sealed record CheckedRecords(IReadOnlyList<RecoverableVm> Vms, IReadOnlyList<string> Refused);

/// <summary>
/// Recovery records. What counts is what this Hub's authority has signed for this host; the formats are checked all
/// the same, because the key may have signed for an older version, and the database must not refuse a whole host for
/// one VM.
/// </summary>
public static partial class Intake
{
    const int MaxKeys = 1000, MaxNameChars = 64, MaxVcpus = 1024, MaxVmMemoryMb = 1 << 26, MaxSizeChars = 32;
    const decimal MaxDollars = 999_999;

    /// <exception cref="RpcException">The message itself is malformed.</exception>
    public static CheckedRecords Check(Records records, string host, Authority authority)
    {
        Must(records.Vms.Count <= MaxVms, $"a host may have {MaxVms} VMs");
        var (vms, refused) = (new List<RecoverableVm>(), new List<string>());
        foreach (var kept in records.Vms)
        {
            Must(Formats.IsVmId(kept.Id), "a VM's id is malformed");
            Must(kept.Record.Length <= Protocol.MaxRecordBytes && kept.Signature.Length <= Protocol.MaxSignatureBytes,
                "a recovery record is too long");
            if (Read(kept, host, authority, out var vm) is { } why) refused.Add($"{kept.Id}: {why}.");
            else vms.Add(vm!);
        }
        return new CheckedRecords(vms, refused);
    }

    /// <summary>Why it does not count; null if it does.</summary>
    static string? Read(KeptRecord kept, string host, Authority authority, out RecoverableVm? vm)
    {
        vm = null;
        if (kept.Record.IsEmpty) return "the Spoke has no recovery record of it";
        if (!authority.VerifyRecord(kept.Record.ToByteArray(), kept.Signature.ToByteArray()))
            return "its record is not signed by this Hub's authority";
        VmRecoveryRecord record;
        try
        {
            record = VmRecoveryRecord.Parser.ParseFrom(kept.Record);
        }
        catch (InvalidProtocolBufferException)
        {
            return "its record cannot be read";
        }
        if (record.Host != host) return $"its record is of host {Line(record.Host, MaxWordChars)}";
        if (record.Id != kept.Id) return $"its record is of {Line(record.Id, MaxWordChars)}";
        if (!IsSound(record, out var dollars)) return "its record is malformed";
        vm = ToVm(record, dollars, kept.HasRun);
        return null;
    }

    static bool IsSound(VmRecoveryRecord record, out decimal dollars) =>
        TryPrice(record.DollarsPerMonth, out dollars)
        && record is { Epoch: > 0, Generation: > 0, Moves: >= 0, Vcpus: > 0 and <= MaxVcpus }
        && record.MemoryMb is > 0 and <= MaxVmMemoryMb
        && record.DiskGb is > 0 and <= MaxDiskGb && record.Wanted is Power.On or Power.Off or Power.Gone
        && !EmailAddress.Parse(record.Email).Refused(out _, out var email) && email == record.Email
        && Formats.IsLabel(record.Name) && Formats.IsImageId(record.ImageId) && Formats.IsSha256(record.ImageSha256)
        && Formats.IsLoginUser(record.LoginUser) && IsSize(record.Size) && IsTime(record.CreatedUnixUs)
        && (record.Wanted == Power.Gone || IsNetwork(record)) && AreKeys(record)
        && record.Further.Count <= Protocol.MaxFurtherAddresses && record.Further.All(IsFurther)
        && (record.Firewall is null || (record.Firewall.Rules.Count <= Protocol.MaxFirewallRules
            && record.Firewall.Rules.All(Formats.IsRule)));

    static bool IsSize(string text) => text.Length is > 0 and <= MaxSizeChars
        && text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-');

    static bool IsTime(long unixUs) =>
        unixUs is > 0 && unixUs < (DateTime.MaxValue - DateTime.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;

    static bool IsNetwork(VmRecoveryRecord record) => Formats.IsMac(record.Mac)
        && Ipv4.TryParse(record.Address, out var address) && address.ToString() == record.Address;

    static bool IsFurther(FurtherAddress further) => Ipv4.TryParse(further.Address, out var address)
        && address.ToString() == further.Address && TryPrice(further.DollarsPerMonth, out _);

    static bool TryPrice(string text, out decimal dollars) =>
        decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out dollars)
        && dollars <= MaxDollars;

    static bool AreKeys(VmRecoveryRecord record) => record.SshKeys.Count <= MaxKeys
        && record.SshKeys.All(k => k.Name.Length is > 0 and <= MaxNameChars && k.Name.All(IsPlain)
            && k.Line.Length <= Formats.MaxKeyChars + MaxNameChars && k.Line.All(IsPlain)
            && k.Line.Split(' ') is [{ Length: > 0 }, { Length: > 0 }]);

    static RecoverableVm ToVm(VmRecoveryRecord record, decimal dollars, bool hasRun) => new(
        record.Id, record.Epoch, record.Generation, record.Email, record.Name, record.Size, dollars, record.Vcpus,
        record.MemoryMb, record.DiskGb, record.ImageId, record.ImageSha256, record.LoginUser,
        DateTime.UnixEpoch.AddTicks(record.CreatedUnixUs * TimeSpan.TicksPerMicrosecond),
        record.Wanted switch { Power.On => "on", Power.Off => "off", _ => "gone" }, record.Mac, record.Address,
        [.. record.SshKeys.Select(k => new RecoverableKey(k.Name, k.Line.Split(' ')[0], k.Line.Split(' ')[1]))],
        record.HasRun || hasRun, record.Moves)
    {
        Further = [.. record.Further.Select(f => new RecoverableAddress(
            f.Address, decimal.Parse(f.DollarsPerMonth, CultureInfo.InvariantCulture)))],
        Firewall = record.Firewall is { } firewall ? WantedFirewalls.FromWire(firewall) : FirewallState.Default,
    };
}
