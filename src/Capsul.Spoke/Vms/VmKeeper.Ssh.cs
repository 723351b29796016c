using System.Net;
using System.Net.Sockets;
using System.Text;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>The part of a keeper's care that is about SSH: the relay, the banner, the host keys.</summary>
public sealed partial class VmKeeper
{
    /// <summary>
    /// Until SSH answers and the host keys were read over the console. The console is looked at often and the network seldom: a guest
    /// that is not up yet leaves the kernel with an unanswered ARP question, which makes the next try slower, not faster.
    /// </summary>
    async Task AwaitSshAsync(CancellationToken wait, CancellationToken cancel)
    {
        await EnsureRelayAsync(cancel);
        if (last.Phase == Phase.Ready && last.Power == Power.On && last.Generation == round) return;
        Report(Power.On, Phase.Booting);
        var began = time.GetUtcNow();
        var (nextDial, nextTail) = (began, began + TailEvery);
        DateTimeOffset? answeredAt = null;
        while (true)
        {
            var console = await hypervisor.ConsoleTailAsync(Id, ConsoleBytes, cancel);
            var keys = ConsoleText.HostKeys(console);
            var now = time.GetUtcNow();
            if (answeredAt is null && (keys.Count > 0 || now >= nextDial))
            {
                nextDial = now + BannerLimit;
                if (await HasBannerAsync(wait))
                {
                    answeredAt = now;
                    Report(Power.On, Phase.Ssh);
                }
            }
            // A guest that says much on its console pushes its keys out of what is searched; those read at an earlier boot are still its own.
            if (keys.Count == 0 && answeredAt is { } at && now - at > KeysLimit) keys = record.HostKeys;
            if (answeredAt is not null && keys.Count > 0)
            {
                await KeepAsync(record with { HostKeys = keys }, cancel);
                Report(Power.On, Phase.Ready);
                return;
            }
            if (await hypervisor.FindAsync(Id, cancel) != DomainPower.On)
            {
                Look();
                return; // The next round finds out why.
            }
            if (now >= nextTail)
            {
                nextTail = now + TailEvery;
                Report(Power.On, last.Phase, ConsoleText.Tail(console, Protocol.ConsoleTailBytes));
            }
            // A guest that has not come up by now may never (its owner may have closed the port): no need to stare.
            await PauseAsync(now - began < Patience ? Glance : BannerLimit, wait);
        }
    }

    async Task EnsureRelayAsync(CancellationToken cancel)
    {
        if (relay is not null) return;
        relay = Relay.Open(settings.RelayAddress, settings.RelayPorts, record.SshPort, hypervisor, IPAddress.Parse(record.Wanted.Address), log);
        await KeepAsync(record with { SshPort = relay.Port }, cancel);
    }

    async Task CloseRelayAsync()
    {
        if (relay is null) return;
        await relay.DisposeAsync();
        relay = null;
    }

    /// <summary>Whether something that speaks SSH answers on port 22 (RFC 4253, 4.2: the server's first line begins with SSH-).</summary>
    async Task<bool> HasBannerAsync(CancellationToken wait)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(wait);
        limit.CancelAfter(BannerLimit);
        try
        {
            await using var stream = await hypervisor.DialAsync(IPAddress.Parse(record.Wanted.Address), 22, limit.Token);
            var start = new byte[4];
            await stream.ReadExactlyAsync(start, limit.Token);
            return Encoding.ASCII.GetString(start) == "SSH-";
        }
        catch (Exception error) when (error is IOException or SocketException or HypervisorException || (error is OperationCanceledException && !wait.IsCancellationRequested))
        {
            return false;
        }
    }
}
