using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Leadership;

/// <summary>
/// A part of the work that only the active Hub does. It runs until canceled; its writes are fenced by the epoch.
/// </summary>
public interface IActingWork
{
    /// <summary>For the log.</summary>
    string Name { get; }

    /// <exception cref="SeatLostException">The epoch is no longer in force; all parts end.</exception>
    Task RunAsync(long epoch, CancellationToken cancel);
}

/// <summary>
/// Tries to acquire the seat as long as the process runs, and runs all parts of the active Hub's work while it holds
/// it. A part that fails is restarted alone after a delay; only losing the seat ends all of them.
/// </summary>
public sealed partial class ActingHub(
    Seat seat, IEnumerable<IActingWork> work, TimeProvider time, ILogger<ActingHub> log) : BackgroundService
{
    static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1), LongestPause = TimeSpan.FromMinutes(1);

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => seat.RunAsync(ActAsync, stoppingToken);

    async Task ActAsync(long epoch, CancellationToken cancel)
    {
        using var all = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task[] parts = [.. work.Select(w => KeepAsync(w, epoch, all.Token))];
        var first = await Task.WhenAny(parts);
        await all.CancelAsync();
        await Task.WhenAll(parts).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    /// <summary>Runs one part, restarting it, until the seat is lost or the work is canceled.</summary>
    async Task KeepAsync(IActingWork part, long epoch, CancellationToken cancel)
    {
        // Off the caller's thread: a part may do a lot of work before its first await.
        await Task.Yield();
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            var began = time.GetTimestamp();
            try
            {
                await part.RunAsync(epoch, cancel);
                cancel.ThrowIfCancellationRequested();
            }
            catch (Exception error) when (error is not SeatLostException && !cancel.IsCancellationRequested)
            {
                if (time.GetElapsedTime(began) > LongestPause) pause = FirstPause;
                Log.Failed(log, part.Name, pause.TotalSeconds, error);
            }
            await Task.Delay(pause, time, cancel);
        }
    }

    static partial class Log
    {
        [LoggerMessage(205, LogLevel.Error, "{Part} failed; restarting it in {Seconds} s")]
        public static partial void Failed(ILogger log, string part, double seconds, Exception error);
    }
}
