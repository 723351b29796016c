using Capsul.Foundation;
using Capsul.Wire;

namespace Capsul.Hub.Link;

/// <summary>
/// A connection that a newer one for the same host, on another thread, may end at any time, even when it has just ended
/// on its own. It knows when it was last heard, and whether another run of the Spoke wanted its place.
/// </summary>
sealed class OpenConnection : IDisposable
{
    /// <summary>Two heartbeats, and a little.</summary>
    static readonly TimeSpan AliveFor = TimeSpan.FromSeconds(2.5 * Protocol.HeartbeatSeconds);

    readonly CancellationTokenSource ended;
    readonly string runId;
    readonly TimeProvider time;
    long lastHeard;
    int contested;

    /// <param name="runId">Different for each run of the Spoke; empty for old ones, which do not say.</param>
    /// <param name="time">The clock.</param>
    /// <param name="call">Ends with the call.</param>
    public OpenConnection(string runId, TimeProvider time, CancellationToken call)
    {
        (this.runId, this.time) = (runId, time);
        lastHeard = time.GetTimestamp();
        ended = CancellationTokenSource.CreateLinkedTokenSource(call);
        Token = ended.Token;
    }

    public CancellationToken Token { get; }

    public bool IsOtherRun(OpenConnection newer) => runId.Length > 0 && newer.runId.Length > 0 && runId != newer.runId;

    public bool IsAlive => !Token.IsCancellationRequested
        && time.GetElapsedTime(Interlocked.Read(ref lastHeard)) < AliveFor;

    /// <summary>Another run of the Spoke has connected while this one is alive.</summary>
    public void Contest() => Interlocked.Exchange(ref contested, 1);

    /// <summary>A message has arrived. True if the connection was contested before: so both of them live.</summary>
    public bool HearAndTakeContest()
    {
        Interlocked.Exchange(ref lastHeard, time.GetTimestamp());
        return Interlocked.Exchange(ref contested, 0) == 1;
    }

    public async Task EndAsync()
    {
        try
        {
            await ended.CancelQuietlyAsync();
        }
        catch (ObjectDisposedException)
        {
            // It has just ended.
        }
    }

    public void Dispose() => ended.Dispose();
}
