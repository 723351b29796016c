namespace Capsul.Spoke.Vms;

/// <summary>A limit on bytes per second, of which those of one second may come at once. For one caller.</summary>
sealed class Pace(int bytesPerSecond, TimeProvider time)
{
    /// <summary>When all that was spent has been earned.</summary>
    DateTimeOffset even;

    /// <summary>Returns when this many bytes may be spent.</summary>
    public Task SpendAsync(int bytes, CancellationToken cancel)
    {
        var now = time.GetUtcNow();
        if (even < now) even = now;
        even += TimeSpan.FromSeconds((double)bytes / bytesPerSecond);
        var early = even - now - TimeSpan.FromSeconds(1);
        return early > TimeSpan.Zero ? Task.Delay(early, time, cancel) : Task.CompletedTask;
    }
}
