using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.SshKeys;
using Capsul.Spoke.Hypervisor;

namespace Capsul.Fleet;

/// <summary>One VM of a fleet, as both sides have to know it.</summary>
/// <param name="Generation">The generation of its host under which it was created.</param>
/// <param name="Port">Of its relay.</param>
/// <param name="Key">Its owner's SSH key.</param>
public sealed record FleetVm(
    string Id, string Name, string Email, string Host, long Generation, IPAddress Address, int Port,
    SshKey Key, SshKey HostKey);

/// <summary>
/// Who has what in a fleet: everything follows from the size, so that the Hub's rows and the Spokes' records are
/// derived independently and still agree. The first account has a hundred VMs (if there are that many), the others ten
/// each.
/// </summary>
public sealed record FleetPlan(int Spokes, int VmsPerSpoke)
{
    public const string ImageId = "fleet", SizeId = "f1-xs", KeyName = "fleet";

    public const int MemoryMb = 512, DiskGb = 25;

    /// <summary>So that a Spoke's inventory fits one message, and its relay ports the default range.</summary>
    public const int MaxSpokes = 9999, MaxVmsPerSpoke = 500;

    const int FirstPort = 22_000, SmallAccount = 10;

    /// <summary>The first two of a network are its own address and the gateway's; the last two are not used.</summary>
    const int FirstAddress = 2, OtherAddresses = 4;

    public int Vms => Spokes * VmsPerSpoke;

    /// <summary>How many VMs the first account should have.</summary>
    public int LargestAccount { get; init; } = 100;

    /// <summary>How many it has.</summary>
    public int Largest => Math.Min(LargestAccount, Vms);

    public IEnumerable<string> Hosts => Enumerable.Range(0, Spokes).Select(HostName);

    public IEnumerable<string> Accounts => Enumerable.Range(0, 1 + (Vms - Largest + SmallAccount - 1) / SmallAccount)
        .Select(AccountName);

    /// <summary>The same on every host: room for as many VMs again.</summary>
    public IPNetwork Network => new(IPAddress.Parse("10.77.0.0"), 32 - BitsFor(2 * VmsPerSpoke));

    public IReadOnlyList<IPAddress> Addresses
    {
        get
        {
            var size = 1u << (32 - Network.PrefixLength);
            var first = Ipv4.Number(Network.BaseAddress);
            return [.. Ipv4.Between(Ipv4.Address(first + FirstAddress), Ipv4.Address(first + size - 2))];
        }
    }

    /// <summary>Memory of each host, MiB: also for as many VMs again.</summary>
    public int HostMemoryMb => Math.Max(256 << 10, 2 * VmsPerSpoke * MemoryMb);

    public static string HostName(int spoke) => string.Create(CultureInfo.InvariantCulture, $"fleet-{spoke + 1:0000}");

    public static string AccountName(int account) =>
        string.Create(CultureInfo.InvariantCulture, $"fleet-{account + 1:00000}@example.org");

    /// <summary>The VMs of one host, in the order in which they were created.</summary>
    public IEnumerable<FleetVm> VmsOf(int spoke)
    {
        var addresses = Addresses;
        for (var n = 0; n < VmsPerSpoke; n++)
        {
            // Neighbours on a host belong to different accounts.
            var number = n * Spokes + spoke;
            var id = string.Create(CultureInfo.InvariantCulture, $"capsul-f{number:000000000}");
            var email = OwnerOf(number);
            yield return new FleetVm(
                id, string.Create(CultureInfo.InvariantCulture, $"vm-{number}"), email, HostName(spoke), n + 1,
                addresses[n], FirstPort + n, KeyOf(email), KeyOf(id));
        }
    }

    string OwnerOf(int number) => AccountName(number < Largest ? 0 : 1 + (number - Largest) / SmallAccount);

    /// <summary>A key in the right format that nobody has the other half of.</summary>
    public static SshKey KeyOf(string name) => SshKey.Parse(
        $"ssh-ed25519 {Simulated.HostKey(SHA256.HashData(Encoding.UTF8.GetBytes(name)))}").OrThrow();

    /// <summary>How many bits it takes to number so many addresses.</summary>
    static int BitsFor(int addresses) =>
        System.Numerics.BitOperations.Log2((uint)(addresses + OtherAddresses - 1)) + 1;
}
