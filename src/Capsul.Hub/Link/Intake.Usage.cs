using Capsul.Hub.Features.Traffic;
using Capsul.Wire;

namespace Capsul.Hub.Link;

/// <summary>What VMs have used. Only those of the host count, which the database checks.</summary>
public static partial class Intake
{
    /// <summary>Sums of many years stay below this.</summary>
    const long MaxCounter = 1L << 60;

    public static IReadOnlyList<VmCounters> Check(Usage usage)
    {
        Must(usage.Vms.Count <= MaxVms, $"a host may have {MaxVms} VMs");
        return [.. usage.Vms.Select(Check).DistinctBy(v => v.Id, StringComparer.Ordinal)];
    }

    static VmCounters Check(VmUsage used)
    {
        Must(Formats.IsVmId(used.Id), "a VM's id is malformed");
        Must(used.CpuMs is >= 0 and <= MaxCounter && used.ReceivedBytes is >= 0 and <= MaxCounter
            && used.SentBytes is >= 0 and <= MaxCounter && used.Connections is >= 0 and <= MaxCounter,
            "what a VM has used is out of range");
        return new VmCounters(used.Id, used.CpuMs, used.ReceivedBytes, used.SentBytes, used.Connections);
    }
}
