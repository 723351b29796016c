using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// A reconciler without input: looks for what is due, again and again, and does each piece in a fenced transaction of
/// its own. One that the database refuses is tried again in the next round, and does not keep the others from their
/// turn.
/// </summary>
public abstract partial class Sweep(Fence fence, TimeProvider time, ILogger log) : IActingWork
{
    public abstract string Name { get; }

    /// <summary>Between two rounds.</summary>
    protected abstract TimeSpan Pause { get; }

    protected Fence Fence => fence;

    protected TimeProvider Time => time;

    protected DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Pause, time, cancel);
        }
    }

    /// <summary>One round; returns how much it has done.</summary>
    public abstract Task<int> LookAsync(long epoch, CancellationToken cancel);

    /// <summary>Does one piece; returns 1, or 0 if there was nothing to do, or the database refused it.</summary>
    protected async Task<int> TryAsync(
        long epoch, string subject, Func<NpgsqlTransaction, Task<bool>> work, CancellationToken cancel)
    {
        try
        {
            return await fence.InTransactionAsync(epoch, work, cancel) ? 1 : 0;
        }
        catch (PostgresException error)
        {
            Log.Failed(log, error, Name, subject);
            return 0;
        }
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3500, Level = LogLevel.Error, Message = "{Work}: {Subject} failed")]
        public static partial void Failed(ILogger log, Exception error, string work, string subject);
    }
}
