namespace Capsul.Spoke.Hypervisor;

/// <summary>What the machines have used, by the time for which they are on.</summary>
public sealed partial class Simulated
{
    /// <summary>Of one processor, percent.</summary>
    public int CpuPercent { get; set; } = 3;

    /// <summary>Bytes a second in each direction.</summary>
    public long BytesPerSecond { get; set; } = 2_000;

    public double ConnectionsPerSecond { get; set; } = 0.01;

    public Task<IReadOnlyList<VmUse>> UsageAsync(CancellationToken cancel) =>
        DoAsync<IReadOnlyList<VmUse>>(Verb.Usage, () =>
        {
            lock (gate)
                return [.. from machine in machines
                           where machine.Value is { On: true, StartedAt: not null }
                           let seconds = (time.GetUtcNow() - machine.Value.StartedAt!.Value).TotalSeconds
                           select new VmUse(machine.Key, (long)(seconds * CpuPercent * 10),
                               (long)(seconds * BytesPerSecond), (long)(seconds * BytesPerSecond / 4),
                               (long)(seconds * ConnectionsPerSecond))];
        }, cancel, lie: []);
}
