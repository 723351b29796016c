namespace Capsul.Spoke.Vms;

/// <summary>A limit on bytes per second, of which those of one second may come at once. For one caller.</summary>
sealed class Pace(int bytesPerSecond, TimeProvider time)
{
    static readonly TimeSpan AtOnce = TimeSpan.FromSeconds(1);

    long counted = time.GetTimestamp();

    /// <summary>How long it takes until all that was spent has been earned, from when it was counted.</summary>
    TimeSpan owed;

    /// <summary>Returns when this many bytes may be spent.</summary>
    public Task SpendAsync(int bytes, CancellationToken cancel)
    {
        // Not the time of day: that may be set back.
        var now = time.GetTimestamp();
        owed -= time.GetElapsedTime(counted, now);
        if (owed < TimeSpan.Zero) owed = TimeSpan.Zero;
        counted = now;
        owed += TimeSpan.FromSeconds((double)bytes / bytesPerSecond);
        return owed > AtOnce ? Task.Delay(owed - AtOnce, time, cancel) : Task.CompletedTask;
    }
}
