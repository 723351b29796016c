using System.Net;
using System.Threading.Channels;
using Capsul.Spoke.Vms;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The state that the hypervisor reports for a domain. Unknown never starts, stops or deletes anything. Paused: the
/// hypervisor stopped the guest, with its memory, because the host's disk is full.
/// </summary>
public enum DomainPower { Unknown, Off, On, Paused }

/// <summary>One of Capsul's domains on this host, or its leftovers (disk, address) without a domain.</summary>
public sealed record DomainState(string Id, DomainPower Power);

/// <summary>
/// Everything that the hypervisor needs to create a VM. IDs are <c>capsul-</c> and ten of [a-z0-9]; the domain is named
/// by the ID.
/// </summary>
/// <param name="Id">The VM's ID.</param>
/// <param name="Name">The name that the owner gave it; a valid host name.</param>
/// <param name="Vcpus">Virtual CPUs.</param>
/// <param name="MemoryMb">Memory, MiB.</param>
/// <param name="DiskGb">Size of the disk, GiB.</param>
/// <param name="ImageId">The image that the disk is based on.</param>
/// <param name="ImageSha256">Which version of it, lower-case hex.</param>
/// <param name="Mac">The network card's address, assigned by the Hub.</param>
/// <param name="Address">The VM's address, assigned by the Hub; DHCP only serves it, and the filter lets nothing else
/// out.</param>
/// <param name="SshKeys">Authorized keys, one line each, without options.</param>
/// <param name="HasRun">It has run before: a missing disk is lost, and must not be recreated.</param>
public sealed record VmSpec(
    string Id, string Name, int Vcpus, int MemoryMb, int DiskGb, string ImageId, string ImageSha256,
    string Mac, IPAddress Address, IReadOnlyList<string> SshKeys, bool HasRun)
{
    /// <summary>The UUID of the foreign machine that it is made of; empty if there is none.</summary>
    public string Adopt { get; init; } = "";

    /// <summary>Its IPv6 address, assigned by the Hub; null: it has none.</summary>
    public IPAddress? Address6 { get; init; }

    /// <summary>IPv4 addresses that it may have besides its own, assigned by the Hub.</summary>
    public IReadOnlyList<IPAddress> Further { get; init; } = [];

    /// <summary>What may reach it; null: everything.</summary>
    public Firewall? Firewall { get; init; }

    /// <summary>Which disk of it: 0 the first; each that was made anew has a higher number.</summary>
    public long Disk { get; init; }

    /// <summary>What it is started from instead of its own disk; null: from that.</summary>
    public RescueSystem? Rescue { get; init; }

    /// <summary>The keys are to replace those in the guest, once; null: they are only for a new disk.</summary>
    public KeySet? KeySet { get; init; }

    public VmBoot Boot => new(Disk, Rescue?.Number ?? 0);

    /// <summary>It was a foreign machine: it has its own disk and no image, and gets no seed.</summary>
    public bool IsAdopted => ImageId == Wire.Protocol.AdoptedImage;
}

/// <summary>SSH keys that a guest takes from its seed at its next start, and how often that was asked for.</summary>
/// <param name="Number">Each has a higher one; the guest remembers the last that it has done.</param>
/// <param name="LoginUser">Whose authorized keys they are.</param>
public sealed record KeySet(long Number, string LoginUser);

/// <summary>A small system that a VM is started from, with the VM's own disk beside it.</summary>
/// <param name="Number">Each rescue of a VM has a higher one.</param>
/// <param name="ImageId">The image that its disk is based on.</param>
/// <param name="ImageSha256">Which version of it, lower-case hex.</param>
/// <param name="SshKeys">Authorized keys, one line each, without options.</param>
public sealed record RescueSystem(long Number, string ImageId, string ImageSha256, IReadOnlyList<string> SshKeys);

/// <summary>A machine on the same hypervisor that Capsul did not make. Memory in MiB, disk in GiB.</summary>
/// <param name="Refusal">One sentence why it cannot be adopted; empty if it can.</param>
public sealed record ForeignMachine(
    string Uuid, string Name, DomainPower Power, int Vcpus, int MemoryMb, int DiskGb, string DiskFormat, string Mac,
    string Refusal);

/// <summary>
/// What a VM has used. Each counter only grows while the VM is on; one that is lower than before has begun again.
/// </summary>
/// <param name="CpuMs">Processor time of all its CPUs, milliseconds.</param>
/// <param name="Received">Bytes through its network card, as seen by the VM.</param>
/// <param name="Sent">Likewise.</param>
/// <param name="Connections">Connections that it tried to begin to the outside.</param>
public sealed record VmUse(string Id, long CpuMs, long Received, long Sent, long Connections);

/// <summary>The network that the VMs of this host are on.</summary>
/// <param name="Gateway">Where the VMs' way out is.</param>
/// <param name="Cidr6">Its IPv6 network, a /64; null: none.</param>
public sealed record VmNetwork(
    IPNetwork Cidr, IPAddress Gateway, IPAddress First, IPAddress Last, IPNetwork? Cidr6 = null)
{
    /// <summary>The host's own address in it, which serves DHCP; in a network of others not the gateway.</summary>
    public IPAddress Own { get; init; } = Gateway;

    /// <summary>The resolver that VMs are told.</summary>
    public IPAddress Resolver { get; init; } = Gateway;

    /// <summary>Whether others are in it, too. Its router is one of them, and advertises the IPv6 network.</summary>
    public bool IsShared => !Own.Equals(Gateway);

    /// <summary>The first address of the IPv6 network.</summary>
    public IPAddress? Gateway6
    {
        get
        {
            if (Cidr6 is not { } network) return null;
            var bytes = network.BaseAddress.GetAddressBytes();
            bytes[^1] = 1;
            return new IPAddress(bytes);
        }
    }
}

/// <summary>
/// The host's capacity, MiB. Memory is what all VMs together may use; disk is the file system with their disks.
/// </summary>
public sealed record HostCapacity(
    string Hypervisor, int Cpus, int MemoryMb, long DiskMb, long DiskFreeMb, VmNetwork Network);

/// <summary>What a domain was started from.</summary>
/// <param name="Disk">The number of its disk.</param>
/// <param name="Rescue">The number of the rescue system; 0: it was started from its own disk.</param>
public sealed record VmBoot(long Disk, long Rescue = 0);

/// <summary>A failure of the hypervisor. Final: retrying with the same input cannot help.</summary>
public sealed class HypervisorException(string message, bool final, Exception? inner = null) : Exception(message, inner)
{
    public bool Final { get; } = final;

    /// <summary>The hypervisor does not respond (dead, hung): the state of its VMs is unknown, not gone.</summary>
    public bool Unreachable { get; init; }

    /// <summary>The disk of a VM that has run is missing.</summary>
    public bool DiskLost { get; init; }

    public static HypervisorException LostDisk(string id) =>
        new($"The disk of {id} is no longer on this host. It was not recreated.", final: true) { DiskLost = true };
}

/// <summary>
/// The verbs that a Spoke needs of a hypervisor, with two implementations (<c>Libvirt</c>, <c>Simulated</c>). Every
/// verb is idempotent: repeating a completed one is a quick no-op, repeating one after a crash completes it. Every verb
/// has its own time limit and fails with <see cref="HypervisorException"/>; none throws anything else on purpose. Verbs
/// for different VMs may run concurrently; the caller never runs two verbs for one VM at the same time,
/// except that it may look (Find) while a disk is exported or imported.
/// </summary>
public interface IHypervisor : IAsyncDisposable
{
    /// <summary>
    /// Connects and sets up what all VMs share: daemon, storage pool, network, filter. Called once, first; may take
    /// 15 s.
    /// </summary>
    Task PrepareAsync(CancellationToken cancel);

    /// <summary>The host's current capacity.</summary>
    Task<HostCapacity> CapacityAsync(CancellationToken cancel);

    /// <summary>
    /// All of Capsul's domains and leftovers on this host. Doubles as the health check: throws Unreachable when the
    /// hypervisor does not respond.
    /// </summary>
    Task<IReadOnlyList<DomainState>> ListAsync(CancellationToken cancel);

    /// <summary>What the domains that are on have used.</summary>
    Task<IReadOnlyList<VmUse>> UsageAsync(CancellationToken cancel);

    /// <summary>Power of one domain; null when nothing of it is left (no domain, disk, seed or DHCP entry).</summary>
    Task<DomainPower?> FindAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Whether the domain is off because its guest shut itself down, rather than because it crashed, was killed or
    /// turned off, or the host shut down.
    /// </summary>
    Task<bool> StoppedByGuestAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Creates the disk (an overlay on the image, of the wanted size) and the seed, and those of the rescue system.
    /// Keeps an existing disk, and a seed unless it is of another key set; fails with DiskLost when the disk of a VM
    /// that has run is missing.
    /// </summary>
    Task MakeDiskAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>What the domain that is on was started from; null: it is off.</summary>
    Task<VmBoot?> FindBootAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Removes all disks of a VM but the one that it has, if that is there, and rescue systems that are not wanted.
    /// Never called while it runs from another. Quick if there are none. True: there was no other disk to remove.
    /// </summary>
    Task<bool> DropOtherDisksAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>
    /// Defines the domain and its DHCP entry and filter. If it is to start from something else than before, the log of
    /// its console begins anew: the host keys in there are another system's.
    /// </summary>
    Task DefineAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>Applies a VM's firewall as it is now. Starting does so, too.</summary>
    Task GuardAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>Whether this firewall is the one that was applied last. Quick.</summary>
    bool IsGuarded(VmSpec vm);

    /// <summary>
    /// When it last found that somebody else had removed rules of the packet filter, which are back since; null: never.
    /// </summary>
    DateTimeOffset? RulesRemoved { get; }

    /// <summary>Why VMs are not connected to the outside, a sentence; empty: they are, or are not to be.</summary>
    string CutOff { get; }

    /// <summary>Starts the domain; returns when the hypervisor reports that it is running.</summary>
    Task StartAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>Asks the guest to shut down (agent, then power button) and returns; the caller waits.</summary>
    Task ShutdownAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Lets a guest go on that was paused because the host's disk was full. Does nothing to any other.
    /// </summary>
    Task ResumeAsync(string id, CancellationToken cancel);

    /// <summary>Turns the domain off immediately; returns when it is off.</summary>
    Task TurnOffAsync(string id, CancellationToken cancel);

    /// <summary>All machines that Capsul did not make.</summary>
    Task<IReadOnlyList<ForeignMachine>> ForeignAsync(CancellationToken cancel);

    /// <summary>
    /// Makes the disk of a foreign machine the disk of this VM. The machine is asked to shut down first: false while it
    /// is still on. Its definition stays, so that it can be given back.
    /// </summary>
    Task<bool> TakeOverAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>The VM is Capsul's for good: the foreign machine's definition goes.</summary>
    Task EndTakeOverAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Makes the disk of a VM that is off ready for a transfer: one that stands alone, in a file of its own beside the
    /// disk, which is kept until <see cref="DropExportsAsync"/>. May take minutes.
    /// </summary>
    Task<DiskExport> ExportDiskAsync(VmSpec vm, string transfer, CancellationToken cancel);

    /// <summary>Removes what earlier transfers have left on this host. Quick if there is nothing.</summary>
    Task DropExportsAsync(string id, CancellationToken cancel);

    /// <summary>The checksum of the disk that this transfer has brought; null if it has not.</summary>
    Task<string?> FindImportAsync(VmSpec vm, string transfer, CancellationToken cancel);

    /// <summary>
    /// Receives a disk: it is in its place, whole, verified and on the medium, when this returns its checksum; before,
    /// nothing of it counts. Refuses what does not stand alone (it could name files of this host), has another size
    /// than the VM's disk, or would replace a disk. May take hours.
    /// </summary>
    /// <exception cref="TransferException">It did not arrive whole.</exception>
    Task<string> ImportDiskAsync(VmSpec vm, string transfer, IncomingDisk disk, CancellationToken cancel);

    /// <summary>
    /// Removes everything: domain (turned off first), disk, seed, DHCP entry, console log. Nothing is left afterwards.
    /// A foreign machine whose take-over has not ended is given back as it was found.
    /// </summary>
    Task RemoveAsync(string id, CancellationToken cancel);

    /// <summary>
    /// The last <paramref name="maxBytes"/> bytes of the serial console's log, as text; empty if there is none.
    /// </summary>
    Task<string> ConsoleTailAsync(string id, int maxBytes, CancellationToken cancel);

    /// <summary>
    /// Has the agent inside the guest set a user's password. The other way in stays as it is: SSH takes keys only.
    /// </summary>
    /// <exception cref="HypervisorException">It is off, or no agent answers, or that refuses.</exception>
    Task SetPasswordAsync(string id, string user, string password, CancellationToken cancel);

    /// <summary>Has the agent inside the guest replace a user's authorized keys by these.</summary>
    /// <exception cref="HypervisorException">It is off, or no agent answers, or that refuses.</exception>
    Task SetKeysAsync(string id, string user, IReadOnlyList<string> keys, CancellationToken cancel);

    /// <summary>
    /// Opens the serial console. One line at a time: the guest's output goes to the first one only.
    /// </summary>
    /// <exception cref="HypervisorException">It is off, or was started by a Capsul without consoles.</exception>
    Task<Line> OpenConsoleAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Opens a connection to the screen, which speaks the RFB protocol (RFC 6143) without a password. Several at a time
    /// see the same; it ends when the VM is turned off.
    /// </summary>
    /// <exception cref="HypervisorException">It is off, or was started by a Capsul without screens.</exception>
    Task<Line> OpenScreenAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Opens a TCP connection to an address in the VM network, from wherever that network can be reached.
    /// </summary>
    Task<Stream> DialAsync(IPAddress address, int port, CancellationToken cancel);

    /// <summary>Creates the relays to the VMs' SSH; called once.</summary>
    IRelays MakeRelays(ILogger log);

    /// <summary>
    /// IDs of domains whose power may have changed, as events arrive. Only a hint: the caller checks for itself.
    /// </summary>
    ChannelReader<string> Changes { get; }
}
