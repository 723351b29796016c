using System.Net;
using System.Net.Sockets;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Features.Vms;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>
/// The one boundary at which everything that a Spoke sends is validated. A Spoke may be anybody's machine: what passes
/// has the types, sizes and ranges that the rest of the Hub relies on, and nothing behind it sees wire messages. An
/// error by the Spoke itself ends its connection, with a sentence for its log; what a guest can write (host keys,
/// console) is cleaned or dropped, because a guest must not be able to disconnect its host.
/// </summary>
public static partial class Intake
{
    /// <summary>
    /// Maximum of each that one host may report. Far above what is realistic, far below what does harm.
    /// </summary>
    public const int MaxVms = 10_000, MaxImages = 200, MaxHostKeys = 16, MaxAddresses = 4096, MaxPrefix = 30;

    const int MaxTextChars = 500, MaxTitleChars = 100, MaxWordChars = 64,
        MaxCpus = 65_536, MaxMemoryMb = 1 << 30, MaxDiskGb = 1 << 20;
    /// <summary>Disks are numbered by seconds since 1970, and there is room to go on.</summary>
    const long MaxDisk = 1L << 60;
    const long MaxDiskMb = 1L << 40, MaxTransferBytes = 1L << 60;
    const long MaxSkewSeconds = 10L * 365 * 86_400;
    const int MaxTokenChars = 256, MaxRequestBytes = 8 * 1024;

    public static void CheckJoin(JoinRequest request)
    {
        Must(request.Token.Length <= MaxTokenChars, "the join token is too long");
        CheckCertificateRequest(request.CertificateRequest.Length);
    }

    public static void CheckRenew(RenewRequest request) => CheckCertificateRequest(request.CertificateRequest.Length);

    static void CheckCertificateRequest(int bytes) => Must(bytes is > 0 and <= MaxRequestBytes,
        "the certificate request has an invalid size");

    /// <exception cref="RpcException">The Spoke's protocol version differs by more than one.</exception>
    public static void CheckProtocol(uint version)
    {
        if (Protocol.Refusal(version, Protocol.Version) is { Length: > 0 } refusal)
            throw new RpcException(new Status(StatusCode.FailedPrecondition, refusal));
    }

    /// <exception cref="RpcException">With the sentence for the Spoke's log.</exception>
    public static HostFactsRow Check(Hello hello)
    {
        CheckProtocol(hello.Protocol);
        Must(hello.Facts?.Network is not null, "a hello must carry facts");
        Must(hello.Token.Length is 0 or Protocol.TokenBytes, "the connection token has an invalid size");
        Must(hello.BootId.Length <= MaxWordChars && hello.RunId.Length <= MaxWordChars, "a boot or run ID is too long");
        var facts = hello.Facts!;
        Must(facts.Cpus is >= 0 and <= MaxCpus && facts.MemoryMb is >= 0 and <= MaxMemoryMb,
            "processors or memory are out of range");
        Must(facts.DiskFreeMb is >= 0 and <= MaxDiskMb && facts.DiskMb is >= 0 and <= MaxDiskMb,
            "the disk's size is out of range");
        Must(facts.MaxVms is >= 0 and <= MaxVms, "the number of VMs is out of range");
        Must(facts.ForwardFirst == 0 ? facts.ForwardLast == 0 : facts.ForwardFirst > 0
            && facts.ForwardLast >= facts.ForwardFirst && facts.ForwardLast <= 65_535,
            "the ports for VMs are out of range");
        Must(facts.Images.Count <= MaxImages, $"a host may have {MaxImages} images");
        return new HostFactsRow(
            Line(hello.Version, MaxWordChars), Line(hello.BootId, MaxWordChars),
            Line(facts.Hypervisor, MaxWordChars), facts.Cpus, facts.MemoryMb,
            facts.DiskFreeMb, facts.DiskMb, facts.MaxVms, facts.MovesDisks, Addresses(facts.Network),
            [.. facts.Images.Select(Check).Where(i => i.Id != Protocol.AdoptedImage).DistinctBy(i => i.Id)],
            Pools(facts.Network))
        {
            MakesDisksAnew = facts.MakesDisksAnew,
            Rescues = facts.Rescues,
            RenewsSeeds = facts.RenewsSeeds,
            ForwardsUdp = facts.ForwardsUdp,
            GivesMoreAddresses = facts.GivesMoreAddresses,
            Forwards = facts.ForwardFirst > 0 ? (facts.ForwardFirst, facts.ForwardLast) : null,
        };
    }

    static HostImageRow Check(ImageFacts image)
    {
        Must(Formats.IsImageId(image.Id) && Formats.IsSha256(image.Sha256), "an image's name or checksum is malformed");
        Must(Formats.IsLoginUser(image.LoginUser), "an image's login user is malformed");
        Must(image.MinDiskGb is >= 0 and <= MaxDiskGb && image.MinMemoryMb is >= 0 and <= MaxMemoryMb,
            "an image's sizes are out of range");
        return new HostImageRow(image.Id, image.Sha256, Line(image.Title, MaxTitleChars),
            image.LoginUser, image.MinDiskGb, image.MinMemoryMb);
    }

    /// <summary>All addresses of the range: IPv4, both ends inside the given network, at most a /20.</summary>
    static IReadOnlyList<IPAddress> Addresses(NetworkFacts facts)
    {
        Must(IPNetwork.TryParse(facts.Cidr, out var network)
            && network.BaseAddress.AddressFamily == AddressFamily.InterNetwork,
            "the VM network is not an IPv4 network");
        var (hasFirst, hasLast) = (Ipv4.TryParse(facts.First, out var first), Ipv4.TryParse(facts.Last, out var last));
        Must(hasFirst && hasLast, "the first and last VM address are not IPv4 addresses");
        var (low, high) = (Ipv4.Number(first), Ipv4.Number(last));
        Must(network.Contains(first) && network.Contains(last) && low <= high,
            "the addresses are outside the VM network");
        Must(high - low < MaxAddresses, $"a host may have {MaxAddresses} addresses");
        return [.. Ipv4.Between(first, last)];
    }

    /// <summary>The networks, after their addresses were checked. Spokes of version 0.1 may name no gateway.</summary>
    static IReadOnlyList<PoolFacts> Pools(NetworkFacts facts)
    {
        var network = IPNetwork.Parse(facts.Cidr);
        var gateway = Ipv4.TryParse(facts.Gateway, out var named) ? named
            : Ipv4.Address(Ipv4.Number(network.BaseAddress) + 1);
        Must(network.PrefixLength <= MaxPrefix && network.Contains(gateway), "the gateway is outside the VM network");
        var four = new PoolFacts(4, network.ToString(), gateway.ToString(), facts.First, facts.Last);
        if (facts.Cidr6.Length == 0) return [four];
        Must(IPNetwork.TryParse(facts.Cidr6, out var six) && six is { PrefixLength: 64 }
            && six.BaseAddress is
            {
                AddressFamily: AddressFamily.InterNetworkV6, IsIPv6LinkLocal: false,
                IsIPv6Multicast: false
            },
            "the IPv6 network of VMs is not a /64");
        Must(six.BaseAddress.ScopeId == 0 && IPAddress.TryParse(facts.Gateway6, out var gateway6)
            && gateway6.ScopeId == 0 && six.Contains(gateway6),
            "the IPv6 gateway is outside its network");
        return [four, new PoolFacts(6, six.ToString(), IPAddress.Parse(facts.Gateway6).ToString(), null, null)];
    }

    public static HeartbeatRow Check(Heartbeat heartbeat, DateTimeOffset now)
    {
        Must(heartbeat.DiskFreeMb is >= 0 and <= MaxDiskMb, "the disk's size is out of range");
        var skew = heartbeat.UnixMs == 0 ? 0
            : Math.Clamp((heartbeat.UnixMs - now.ToUnixTimeMilliseconds()) / 1000, -MaxSkewSeconds, MaxSkewSeconds);
        var ago = Math.Min(heartbeat.RulesRemovedAgo, MaxSkewSeconds);
        return new HeartbeatRow(heartbeat.HypervisorAnswers, heartbeat.DiskFreeMb,
            Line(heartbeat.Problem, MaxTextChars), (int)skew,
            ago > 0 ? now.UtcDateTime.AddSeconds(1 - ago) : null, Line(heartbeat.CutOff, MaxTextChars));
    }

    public static IReadOnlyList<VmObservation> Check(Inventory inventory)
    {
        Must(inventory.Vms.Count <= MaxVms, $"a host may have {MaxVms} VMs");
        return [.. inventory.Vms.Select(Check)];
    }

    /// <summary>ObserveVm checks against the VM's row whether it matches a request.</summary>
    public static VmObservation Check(VmReport report)
    {
        Must(Formats.IsVmId(report.Id), "a VM's id is malformed");
        Must(Enum.IsDefined(report.Power) && Enum.IsDefined(report.Phase), "a VM's power or phase is unknown");
        Must(report.Generation >= 0 && report.Epoch >= 0 && report.Restarts >= 0
            && report.Disk is >= 0 and <= MaxDisk && report.Rescue is >= 0 and <= MaxDisk
            && report.KeySet is >= 0 and <= MaxDisk,
            "a VM's counters are out of range");
        Must(report.SshPort is >= 0 and <= 65_535 && (report.SshHost.Length == 0) == (report.SshPort == 0),
            "a VM's SSH port is out of range");
        Must(report.SshHost.Length == 0 || IsHost(report.SshHost),
            "a VM's SSH host is neither a DNS name nor an address");
        Must(report.HostKeys.Count <= MaxHostKeys, $"a VM may have {MaxHostKeys} host keys");
        return new VmObservation(
            report.Id, report.Power, report.Phase, report.Epoch, report.Generation, report.Restarts, report.SshHost,
            report.SshPort, [.. report.HostKeys.Select(Check).OfType<SshKey>().DistinctBy(k => k.Type)],
            Line(report.Problem, MaxTextChars), report.ProblemFinal, Console(report.ConsoleTail), report.StoppedItself,
            report.DiskLost, report is { Power: Power.On, Paused: true }, report.HasRun, Check(report.Transfer),
            report.Disk, report.Rescue, report.KeySet);
    }

    static TransferProgress? Check(TransferReport? report)
    {
        if (report is null) return null;
        Must(Formats.IsTransferId(report.Id), "a transfer's id is malformed");
        Must(report.BytesDone is >= 0 and <= MaxTransferBytes && report.BytesTotal is >= 0 and <= MaxTransferBytes,
            "the size of a transfer is out of range");
        Must(report.Sha256.Length == 0 || Formats.IsSha256(report.Sha256), "a transfer's checksum is malformed");
        return new TransferProgress(report.Id, report.BytesDone, report.BytesTotal, report.Sha256);
    }

    /// <summary>Null if it is not a key: guests can print anything between the markers on their console.</summary>
    static SshKey? Check(SshHostKey key) =>
        key.Type.Length + key.Key.Length > Formats.MaxKeyChars || key.Key.Any(char.IsWhiteSpace) ? null
            : SshKey.Parse($"{key.Type} {key.Key}").Refused(out _, out var parsed) ? null : parsed;

    static bool IsHost(string text) => IPAddress.TryParse(text, out var address)
        ? address.ToString() == text && !address.Equals(IPAddress.Any) && !address.Equals(IPAddress.IPv6Any)
        : Formats.IsDnsName(text);

    /// <summary>One line without control characters, which could be interpreted by a terminal or a log.</summary>
    static string Line(string text, int most) =>
        Cut(new string([.. text.Take(most * 2).Select(c => IsPlain(c) ? c : ' ')]).Trim(), most);

    /// <summary>Console text with line ends and tabs; only its end is kept.</summary>
    static string Console(string text)
    {
        var tail = text.Length <= Protocol.ConsoleTailBytes ? text : text[^Protocol.ConsoleTailBytes..];
        return new string([.. tail.Where(c => c is '\n' or '\t' || IsPlain(c))]);
    }

    /// <summary>
    /// No control or format characters (which reorder text), and no unpaired surrogates, which PostgreSQL rejects.
    /// </summary>
    static bool IsPlain(char c) =>
        !char.IsControl(c) && !char.IsSurrogate(c)
            && char.GetUnicodeCategory(c) is not System.Globalization.UnicodeCategory.Format;

    static string Cut(string text, int most) => text.Length <= most ? text : text[..(most - 1)] + "…";

    static void Must(bool holds, string what)
    {
        if (!holds)
            throw new RpcException(
                new Status(StatusCode.InvalidArgument, $"The Hub refused what this Spoke sent: {what}."));
    }
}
