using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// How many connections each guest has tried to begin to the outside: a table of its own, which is never replaced, so
/// that counting goes on. Attempts count, also those that the rules refuse: a guest that keeps trying to send mail
/// shows.
/// </summary>
static class WayOutCounters
{
    const string Table = "capsul_count", Set = "begun", Element = "{ ether saddr timeout 1h counter }";

    /// <summary>
    /// A guest that is silent for an hour is forgotten, and counted from 0 again. A hundred times the VMs of a host.
    /// </summary>
    public const string Rules = $$"""
        add table inet {{Table}}
        add set inet {{Table}} {{Set}} { type ether_addr; size 65536; flags dynamic, timeout; }
        add chain inet {{Table}} through { type filter hook forward priority -10; policy accept; }
        flush chain inet {{Table}} through
        add rule inet {{Table}} through iifname "{{NetworkXml.Bridge}}" ct state new update @{{Set}} {{Element}}

        """;

    /// <summary>In bridged mode nothing is routed, and no connection tracked: those of TCP.</summary>
    public const string BridgeRules = $$"""
        add table bridge {{Table}}
        add set bridge {{Table}} {{Set}} { type ether_addr; size 65536; flags dynamic, timeout; }
        add chain bridge {{Table}} through { type filter hook forward priority -20; policy accept; }
        flush chain bridge {{Table}} through
        add rule bridge {{Table}} through {{FromGuest}} tcp flags & (syn | ack) == syn update @{{Set}} {{Element}}

        """;

    const string FromGuest = $"iifname \"cap*\" oifname \"{WayOutRules.Interface}\"";

    /// <summary>By hardware address. Empty if nothing is counted.</summary>
    /// <exception cref="HypervisorException">They cannot be read now. They are not 0: that would be a new
    /// beginning.</exception>
    public static async Task<Dictionary<string, long>> ReadAsync(Sandbox sandbox, CancellationToken cancel)
    {
        var all = await ReadAsync(sandbox, "inet", cancel);
        foreach (var (mac, count) in await ReadAsync(sandbox, "bridge", cancel))
            all[mac] = all.GetValueOrDefault(mac) + count;
        return all;
    }

    static async Task<Dictionary<string, long>> ReadAsync(Sandbox sandbox, string family, CancellationToken cancel)
    {
        try
        {
            var listed = await sandbox.Inside("nft", "-j", "list", "set", family, Table, Set).TryRunAsync(cancel);
            if (listed.ExitCode == 0) return Parse(listed.Output);
            if (listed.Error.Contains("No such file", StringComparison.Ordinal)) return [];
            throw new HypervisorException($"nft does not tell of connections: {listed.LastLine}", final: false);
        }
        catch (Exception error) when (error is ProblemException or JsonException)
        {
            throw new HypervisorException($"nft does not tell of connections: {error.Message}", final: false, error);
        }
    }

    /// <summary>As nft prints it (libnftables-json).</summary>
    internal static Dictionary<string, long> Parse(string text)
    {
        using var json = JsonDocument.Parse(text);
        return (from item in json.RootElement.GetProperty("nftables").EnumerateArray()
                where item.TryGetProperty("set", out var set) && set.TryGetProperty("elem", out _)
                from entry in item.GetProperty("set").GetProperty("elem").EnumerateArray()
                let element = entry.GetProperty("elem")
                select (Mac: element.GetProperty("val").GetString()!,
                    Count: element.GetProperty("counter").GetProperty("packets").GetInt64()))
            .ToDictionary(e => e.Mac, e => e.Count, StringComparer.Ordinal);
    }
}
