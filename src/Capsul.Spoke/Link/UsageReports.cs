using System.Security.Cryptography;
using System.Threading.Channels;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Link;

/// <summary>
/// Says regularly what the VMs have used. These are counters: a report that is lost is made up for by the next.
/// </summary>
sealed class UsageReports(IHypervisor hypervisor, TimeProvider time)
{
    static readonly TimeSpan Every = TimeSpan.FromSeconds(Protocol.UsageSeconds);

    /// <param name="taken">Completes when the Hub has said that it takes them.</param>
    public async Task RunAsync(ChannelWriter<SpokeMessage> sending, Task taken, CancellationToken cancel)
    {
        await taken.WaitAsync(cancel);
        // After a restart of the Hub not all of its Spokes at once.
        var pause = Every * (RandomNumberGenerator.GetInt32(100) / 100.0);
        while (true)
        {
            await Task.Delay(pause, time, cancel);
            pause = Every;
            try
            {
                await sending.WriteAsync(
                    new SpokeMessage { Usage = ToWire(await hypervisor.UsageAsync(cancel)) }, cancel);
            }
            catch (HypervisorException)
            {
                // The next heartbeat reports it.
            }
        }
    }

    static Usage ToWire(IReadOnlyList<VmUse> used)
    {
        var usage = new Usage();
        usage.Vms.AddRange(used.Select(u => new VmUsage
        {
            Id = u.Id,
            CpuMs = u.CpuMs,
            ReceivedBytes = u.Received,
            SentBytes = u.Sent,
            Connections = u.Connections,
        }));
        return usage;
    }
}
