using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>A VM as the filter sees it.</summary>
/// <param name="Tap">Its interface on the host.</param>
/// <param name="Firewall">What may reach it; null: everything.</param>
public sealed record Guest(string Tap, string Mac, IPAddress Address, IPAddress? Address6, Firewall? Firewall = null)
{
    /// <summary>Its IPv4 addresses besides the first.</summary>
    public IReadOnlyList<IPAddress> Further { get; init; } = [];

    public bool Equals(Guest? other) => other is not null
        && (Tap, Mac, Address, Address6, Firewall)
            .Equals((other.Tap, other.Mac, other.Address, other.Address6, other.Firewall))
        && Further.SequenceEqual(other.Further);

    public override int GetHashCode() => HashCode.Combine(Tap, Mac, Address, Address6, Further.Count);
}

/// <summary>
/// Lets a VM send only from its own MAC and its own IPv4 and IPv6 address, and lets through to it what its owner wants
/// (<see cref="FilterTable"/>): one nftables table on the bridge's ports, and one transaction for each change.
/// Unknown traffic is dropped, so a tap without an entry cannot send anything, and a new VM is never unfiltered.
/// libvirt's nwfilter is not used: its <c>clean-traffic</c> starts dozens of ebtables processes for each VM and made a
/// start 1.7 s slower (0.6 to 2.3 s), against about 20 ms for the one <c>nft</c> here. The whole table can be
/// inspected with <c>nft list table bridge capsul</c>.
/// </summary>
/// <param name="program">Creates the command that runs nft in the bridge's network namespace.</param>
sealed class Filter(Func<string[], Command> program)
{
    /// <summary>
    /// What each tap was last allowed: a change is detected, and the table made again, without a query.
    /// </summary>
    readonly ConcurrentDictionary<string, Guest> known = new(StringComparer.Ordinal);

    /// <summary>
    /// Addresses that taps were allowed by a program before this one, and that nobody has spoken of since.
    /// </summary>
    readonly ConcurrentDictionary<string, string[]> left = new(StringComparer.Ordinal);

    /// <summary>The sets whose elements packets make.</summary>
    const string Talks = "talks";

    /// <summary>Changes are made one after the other: one concerns other VMs of the account, too.</summary>
    readonly SemaphoreSlim gate = new(1, 1);

    /// <summary>Creates the table if it is missing or from an earlier version, and allows the given VMs.</summary>
    /// <param name="guests">Those that are not known yet are allowed what their addresses say; what may reach them is
    /// not known: only what always may, until <see cref="AllowAsync"/> says it.</param>
    public async Task PrepareAsync(IEnumerable<Guest> guests, CancellationToken cancel)
    {
        await gate.WaitAsync(cancel);
        try
        {
            var isCurrent =
                (await program(["list", "chain", "bridge", "capsul", FilterTable.Chains[^1]]).TryRunAsync(cancel))
                    .ExitCode == 0;
            if (isCurrent) await FindLeftAsync(cancel);
            await MakeAsync(isCurrent, [.. guests], cancel);
        }
        finally
        {
            gate.Release();
        }
    }

    async Task FindLeftAsync(CancellationToken cancel)
    {
        var listed = await program(["-j", "list", "set", "bridge", "capsul", "guests"]).RunAsync(cancel);
        foreach (var of in Elements(listed.Output).GroupBy(e => e.Parts[0], e => e.Parts[^1], StringComparer.Ordinal))
            if (!known.ContainsKey(of.Key)) left[of.Key] = [.. of];
    }

    /// <summary>Makes the table again if somebody else has removed rules of it; returns whether.</summary>
    /// <param name="guests">Asked only then, and as for <see cref="PrepareAsync"/>.</param>
    public async Task<bool> RepairAsync(
        Func<CancellationToken, Task<IReadOnlyList<Guest>>> guests, CancellationToken cancel)
    {
        await gate.WaitAsync(cancel);
        try
        {
            if (await IsWholeAsync(cancel)) return false;
            await MakeAsync(isCurrent: false, await guests(cancel), cancel);
            return true;
        }
        finally
        {
            gate.Release();
        }
    }

    async Task MakeAsync(bool isCurrent, IReadOnlyList<Guest> others, CancellationToken cancel)
    {
        var all = string.Concat(others.Where(g => !known.ContainsKey(g.Tap)).Select(FilterTable.Addresses));
        all += string.Concat(known.Values.Select(g => FilterTable.Addresses(g) + FilterTable.Rules(g) + Friends(g)));
        // One transaction: there is no moment without rules. Adding the table first lets the delete succeed if there is
        // none.
        if (!isCurrent) all = $"add table bridge capsul\ndelete table bridge capsul\n{FilterTable.Text}\n{all}";
        if (all.Length > 0) await RunAsync(all, cancel);
    }

    /// <summary>
    /// Whether all chains and elements are there that should be: somebody who reloads a firewall removes tables, and
    /// may flush chains.
    /// </summary>
    async Task<bool> IsWholeAsync(CancellationToken cancel)
    {
        var listed = await program(["-j", "-t", "list", "table", "bridge", "capsul"]).TryRunAsync(cancel);
        if (listed.ExitCode != 0) return false;
        var rules = Rules(listed.Output);
        if (FilterTable.Chains.Any(c => rules.GetValueOrDefault(c) == 0)) return false;
        if (known.Values.Any(g => rules.GetValueOrDefault(FilterTable.Chain(g.Tap), -1)
            < FilterTable.Lines(g.Firewall).Count())) return false;
        if (known.IsEmpty) return true;
        var macs = await program(["-j", "list", "set", "bridge", "capsul", "macs"]).TryRunAsync(cancel);
        var jumps = await program(["-j", "list", "map", "bridge", "capsul", "firewalls"]).TryRunAsync(cancel);
        if (macs.ExitCode != 0 || jumps.ExitCode != 0) return false;
        return Has(macs.Output) && Has(jumps.Output);

        bool Has(string json) => known.Keys.Except(Elements(json).Select(e => e.Parts[0]), StringComparer.Ordinal)
            .FirstOrDefault() is null;
    }

    /// <summary>How many rules each chain has in the output of <c>nft -j list</c>; an empty one has 0.</summary>
    static Dictionary<string, int> Rules(string json)
    {
        using var document = JsonDocument.Parse(json);
        var items = document.RootElement.GetProperty("nftables").EnumerateArray().ToList();
        var counts = items.Where(i => i.TryGetProperty("chain", out _))
            .ToDictionary(i => i.GetProperty("chain").GetProperty("name").GetString()!, _ => 0, StringComparer.Ordinal);
        foreach (var item in items.Where(i => i.TryGetProperty("rule", out _)))
            counts[item.GetProperty("rule").GetProperty("chain").GetString()!]++;
        return counts;
    }

    /// <summary>
    /// Lets a VM's tap send from this MAC and address, and no longer from an older one, and lets through to it what its
    /// firewall says.
    /// </summary>
    public async Task AllowAsync(Guest guest, CancellationToken cancel)
    {
        await gate.WaitAsync(cancel);
        try
        {
            if (MayNoLongerAll(guest)) await ForgetAsync(guest.Tap, cancel);
            await RunAsync(FilterTable.Addresses(guest) + FilterTable.Rules(guest) + Friends(guest), cancel);
            known[guest.Tap] = guest;
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>Whether it has been allowed something that it may not any more.</summary>
    bool MayNoLongerAll(Guest guest)
    {
        if (known.TryGetValue(guest.Tap, out var before))
            return before.Further.Except(guest.Further).Any() || First(before) != First(guest);
        var own = guest.Further.Append(guest.Address).Select(a => a.ToString());
        return left.TryGetValue(guest.Tap, out var were) && were.Except(own, StringComparer.Ordinal).Any();

        static string First(Guest guest) => FilterTable.Addresses(guest with { Further = [] });
    }

    /// <summary>Whether it was last allowed exactly this.</summary>
    public bool IsAllowed(Guest guest) => known.TryGetValue(guest.Tap, out var now) && now == guest;

    /// <summary>The other VMs of the same account.</summary>
    string Friends(Guest guest) => guest.Firewall is not { } firewall ? "" : string.Concat(known.Values
        .Where(g => g.Tap != guest.Tap && g.Firewall?.Owner == firewall.Owner)
        .Select(g => FilterTable.Friends(guest.Tap, g.Tap)));

    /// <summary>Removes everything of a tap.</summary>
    public async Task ForbidAsync(string tap, CancellationToken cancel)
    {
        await gate.WaitAsync(cancel);
        try
        {
            await ForgetAsync(tap, cancel);
        }
        finally
        {
            gate.Release();
        }
    }

    async Task ForgetAsync(string tap, CancellationToken cancel)
    {
        var listed = await program(["-j", "list", "table", "bridge", "capsul"]).RunAsync(cancel);
        var (chain, text) = (FilterTable.Chain(tap), "");
        foreach (var (set, parts) in Elements(listed.Output).Where(e => e.Parts.Contains(tap, StringComparer.Ordinal)))
        {
            var words = parts.Select(p => p.StartsWith("cap", StringComparison.Ordinal) ? $"\"{p}\"" : p);
            var element = $"element bridge capsul {set} {{ {string.Join(" . ", words)} }}\n";
            // Those that packets have made may have ended since; added first, they can be deleted all the same.
            text += (set.StartsWith(Talks, StringComparison.Ordinal) ? $"add {element}" : "") + $"delete {element}";
        }
        // The same holds for the chain.
        text += $"add chain bridge capsul {chain}\nflush chain bridge capsul {chain}\n"
            + $"delete chain bridge capsul {chain}\n";
        await RunAsync(text, cancel);
        // Only now: after a failure it is forgotten once more, instead of added to.
        known.TryRemove(tap, out _);
        left.TryRemove(tap, out _);
    }

    /// <summary>
    /// The elements of all sets and maps in the output of <c>nft -j list</c>, each as its set and its parts.
    /// </summary>
    internal static IReadOnlyList<(string Set, string[] Parts)> Elements(string json)
    {
        using var document = JsonDocument.Parse(json);
        var found = new List<(string, string[])>();
        foreach (var item in document.RootElement.GetProperty("nftables").EnumerateArray())
        {
            if ((!item.TryGetProperty("set", out var set) && !item.TryGetProperty("map", out set))
                || !set.TryGetProperty("elem", out var elements)) continue;
            var name = set.GetProperty("name").GetString()!;
            found.AddRange(elements.EnumerateArray().Select(e => (name, Parts(e))));
        }
        return found;
    }

    /// <summary>Of an element of a map that is its key.</summary>
    static string[] Parts(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Array => Parts(element[0]),
        JsonValueKind.Object when element.TryGetProperty("elem", out var timed) => Parts(timed.GetProperty("val")),
        JsonValueKind.Object => [.. element.GetProperty("concat").EnumerateArray().Select(e => e.ToString())],
        _ => [element.ToString()],
    };

    internal static IPAddress LinkLocal(string mac) => Derive(IPAddress.Parse("fe80::"), mac);

    /// <summary>The address that a guest with this MAC gives itself in a /64 (RFC 4291, appendix A).</summary>
    internal static IPAddress Derive(IPAddress network, string mac)
    {
        var bytes = Bytes(mac);
        return new IPAddress([.. network.GetAddressBytes()[..8],
            (byte)(bytes[0] ^ 2), bytes[1], bytes[2], 0xff, 0xfe, bytes[3], bytes[4], bytes[5]]);
    }

    internal static byte[] Bytes(string mac) => Convert.FromHexString(mac.Replace(":", "", StringComparison.Ordinal));

    async Task RunAsync(string rules, CancellationToken cancel) =>
        await (program(["-f", "-"]) with { Input = rules }).RunAsync(cancel);
}
