using System.Net;
using System.Threading.Channels;
using Capsul.Spoke.Vms;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// What the hypervisor says of a domain. Unknown is an answer of its own: it never starts, stops or deletes anything.
/// </summary>
public enum DomainPower { Unknown, Off, On }

/// <summary>
/// A domain of Capsul's on this host, found in the hypervisor or, with no domain, as leftovers (disk, address).
/// </summary>
public sealed record DomainState(string Id, DomainPower Power);

/// <summary>
/// All that the hypervisor needs to make a VM. Ids are <c>capsul-</c> and ten of [a-z0-9]; the domain's name is the id.
/// </summary>
/// <param name="Id">The VM's id, also its host name inside the guest unless <paramref name="Name"/> fits
/// better.</param>
/// <param name="Name">What the owner calls it; a valid host name.</param>
/// <param name="Vcpus">Virtual processors.</param>
/// <param name="MemoryMb">Memory, MiB.</param>
/// <param name="DiskGb">Size of the disk, GiB.</param>
/// <param name="ImageId">The image that the disk starts from.</param>
/// <param name="ImageSha256">Which version of it, lower-case hex.</param>
/// <param name="Mac">The network card's address, decided by the Hub.</param>
/// <param name="Address">The VM's address, decided by the Hub; DHCP only serves it and the filter lets nothing else
/// out.</param>
/// <param name="SshKeys">Authorized keys, one line each, without options.</param>
/// <param name="HasRun">It has run before: a missing disk is lost, and must not be recreated.</param>
public sealed record VmSpec(
    string Id, string Name, int Vcpus, int MemoryMb, int DiskGb, string ImageId, string ImageSha256,
    string Mac, IPAddress Address, IReadOnlyList<string> SshKeys, bool HasRun);

/// <summary>The network that the VMs of this host are on.</summary>
public sealed record VmNetwork(IPNetwork Cidr, IPAddress Gateway, IPAddress First, IPAddress Last);

/// <summary>
/// What the host can carry, MiB. Memory is what VMs may use in all; disk is the file system that their disks are on.
/// </summary>
public sealed record HostCapacity(
    string Hypervisor, int Cpus, int MemoryMb, long DiskMb, long DiskFreeMb, VmNetwork Network);

/// <summary>Something the hypervisor could not do. Final: trying again with the same input cannot help.</summary>
public sealed class HypervisorException(string message, bool final, Exception? inner = null) : Exception(message, inner)
{
    public bool Final { get; } = final;

    /// <summary>The hypervisor itself does not answer (dead, hung): what it holds is unknown, not gone.</summary>
    public bool Unreachable { get; init; }

    /// <summary>The disk of a VM that has run is not there.</summary>
    public bool DiskLost { get; init; }

    public static HypervisorException LostDisk(string id) =>
        new($"The disk of {id} is no longer on this host. It was not recreated.", final: true) { DiskLost = true };
}

/// <summary>
/// The verbs that a Spoke needs of a hypervisor; two real implementations (<c>Libvirt</c>, <c>Simulated</c>). Every
/// verb is idempotent: doing it again when it is done is a quick no-op, doing it again after a crash half way completes
/// it. Every verb has a time limit of its own and fails with <see cref="HypervisorException"/>; none throws anything
/// else on purpose. Verbs for different VMs may run at the same time; the caller never runs two verbs for one VM at
/// once.
/// </summary>
public interface IHypervisor : IAsyncDisposable
{
    /// <summary>
    /// Connects and sets up what all VMs share: daemon, storage pool, network, filter. Called once, first; may take
    /// 15 s.
    /// </summary>
    Task PrepareAsync(CancellationToken cancel);

    /// <summary>What the host has now.</summary>
    Task<HostCapacity> CapacityAsync(CancellationToken cancel);

    /// <summary>
    /// All of Capsul's domains and leftovers on this host. Doubles as the health check: throws Unreachable when there
    /// is no answer.
    /// </summary>
    Task<IReadOnlyList<DomainState>> ListAsync(CancellationToken cancel);

    /// <summary>Power of one domain; null when nothing of it is left (no domain, disk, seed or DHCP entry).</summary>
    Task<DomainPower?> FindAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Whether the domain is off because its guest shut itself down; not because it crashed, was killed or turned off,
    /// or the host went down.
    /// </summary>
    Task<bool> StoppedByGuestAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Makes the disk (an overlay on the image, at the wanted size) and the seed. Keeps an existing disk; fails with
    /// DiskLost when the one of a VM that has run is not.
    /// </summary>
    Task MakeDiskAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>Defines the domain and its DHCP entry and filter.</summary>
    Task DefineAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>Starts the domain; returns when the hypervisor says it runs.</summary>
    Task StartAsync(VmSpec vm, CancellationToken cancel);

    /// <summary>Asks the guest to shut down (agent, then power button) and returns; the caller waits.</summary>
    Task ShutdownAsync(string id, CancellationToken cancel);

    /// <summary>Turns the domain off at once; returns when it is off.</summary>
    Task TurnOffAsync(string id, CancellationToken cancel);

    /// <summary>
    /// Removes everything: domain (turned off first), disk, seed, DHCP entry, console log. Nothing is left afterwards.
    /// </summary>
    Task RemoveAsync(string id, CancellationToken cancel);

    /// <summary>
    /// The last <paramref name="maxBytes"/> bytes of the serial console's log, as text; empty when there is none.
    /// </summary>
    Task<string> ConsoleTailAsync(string id, int maxBytes, CancellationToken cancel);

    /// <summary>
    /// Opens a TCP connection to an address in the VM network, from wherever that network can be reached.
    /// </summary>
    Task<Stream> DialAsync(IPAddress address, int port, CancellationToken cancel);

    /// <summary>The ports of this machine that lead to the VMs' SSH, made once.</summary>
    IRelays MakeRelays(ILogger log);

    /// <summary>
    /// Ids of domains whose power may have changed, as events come. A hint only: the caller looks for itself.
    /// </summary>
    ChannelReader<string> Changes { get; }
}
