using Capsul.Foundation;
using Capsul.Wire;

namespace Capsul.Spoke.Link;

/// <summary>
/// Notices a Hub that is frozen, or behind a cut network: TCP keeps such a connection for a long time. Every heartbeat
/// is answered at once by a Hub that lives.
/// </summary>
sealed class ReplyWatch(TimeProvider time)
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(Protocol.ReplySeconds);

    readonly Signal sent = new(), received = new();
    volatile bool begun;

    /// <summary>The Hub is one that answers.</summary>
    public void Begin() => begun = true;

    public void Sent()
    {
        if (!begun) return;
        received.Take();
        sent.Set();
    }

    public void Received() => received.Set();

    /// <summary>Runs as long as the Hub answers.</summary>
    /// <exception cref="TimeoutException">It did not answer a heartbeat in time.</exception>
    public async Task RunAsync(CancellationToken cancel)
    {
        while (true)
        {
            await sent.WaitAsync(Timeout.InfiniteTimeSpan, time, cancel);
            if (!await received.WaitAsync(Limit, time, cancel))
                throw new TimeoutException("it did not answer a heartbeat in time");
        }
    }
}
