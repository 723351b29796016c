namespace Capsul.Foundation;

public static class Cancellation
{
    /// <summary>
    /// Cancels; what callbacks throw meanwhile is dropped. gRPC's abort their call, and throw if it is just ending, so
    /// this is for sources whose token it is given: whoever cancels must be able to go on tidying up.
    /// </summary>
    /// <exception cref="ObjectDisposedException">The source was disposed before.</exception>
    public static async Task CancelQuietlyAsync(this CancellationTokenSource source) =>
        await source.CancelAsync().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
}
