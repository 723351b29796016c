using System.Runtime.InteropServices;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// What the domains have used: libvirt tells of processor time and traffic, the packet filter of connections.
/// </summary>
public sealed partial class Libvirt
{
    /// <summary>virDomainStatsTypes, and virConnectGetAllDomainStatsFlags: what can be told without waiting.</summary>
    const uint CpuTotal = 1 << 1, Interfaces = 1 << 4, ActiveOnly = 1, NoWait = 1u << 29;

    /// <summary>virTypedParameterType: unsigned long long.</summary>
    const int UnsignedLong = 4;

    public async Task<IReadOnlyList<VmUse>> UsageAsync(CancellationToken cancel)
    {
        var (used, hosts) = await libvirt.CallAsync(
            "ask what the VMs have used", Slow, connect => (Usage(connect), Hosts(connect)), cancel);
        var begun = sandbox is null ? null : await WayOutCounters.ReadAsync(sandbox, cancel);
        var macs = hosts.ToLookup(h => h.Name, h => h.Mac, StringComparer.Ordinal);
        return [.. used.Select(u => u with
        {
            Connections = macs[u.Id].Sum(mac => begun?.GetValueOrDefault(mac) ?? 0),
        })];
    }

    static unsafe List<VmUse> Usage(ConnectHandle connect)
    {
        StatsRecord** records;
        var count = Check(virConnectGetAllDomainStats(connect, CpuTotal | Interfaces, &records, ActiveOnly | NoWait));
        try
        {
            var used = new List<VmUse>();
            for (var n = 0; n < count; n++)
                if (Marshal.PtrToStringUTF8(virDomainGetName(records[n]->Domain)) is { } name && IsOurs(name))
                    used.Add(Use(name, *records[n]));
            return used;
        }
        finally
        {
            virDomainStatsRecordListFree(records);
        }
    }

    /// <summary>The fields are named in the documentation of virConnectGetAllDomainStats.</summary>
    static unsafe VmUse Use(string id, StatsRecord record)
    {
        var use = new VmUse(id, 0, 0, 0, 0);
        for (var n = 0; n < record.Count; n++)
        {
            var parameter = record.Parameters[n];
            if (parameter.Type != UnsignedLong) continue;
            var value = (long)Math.Min(parameter.Value, long.MaxValue);
            use = Marshal.PtrToStringUTF8((nint)(&parameter)->Field) switch
            {
                "cpu.time" => use with { CpuMs = value / 1_000_000 },
                "net.0.rx.bytes" => use with { Received = value },
                "net.0.tx.bytes" => use with { Sent = value },
                _ => use,
            };
        }
        return use;
    }
}
