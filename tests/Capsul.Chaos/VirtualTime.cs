namespace Capsul.Chaos;

/// <summary>
/// A clock that stands still until it is advanced; then timers fire in order of their times, on the thread that
/// advances it. Code that waits for one continues inside <see cref="AdvanceTo"/>, so that everything happens
/// sequentially.
/// </summary>
public sealed class VirtualTime : TimeProvider
{
    readonly PriorityQueue<Timer, (DateTimeOffset At, long Number)> timers = new();
    /// <summary>Soon after the beginning an hour ends, whose usage is posted.</summary>
    public static readonly DateTime FirstHour = new(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    DateTimeOffset now = new(FirstHour.AddSeconds(-40), TimeSpan.Zero);
    long numbers;

    public DateTime Now => now.UtcDateTime;

    public override DateTimeOffset GetUtcNow() => now;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => now.UtcTicks;

    /// <summary>When the next timer fires; null when none is set.</summary>
    public DateTime? NextTimer
    {
        get
        {
            while (timers.TryPeek(out var timer, out var due) && timer.Due != due.At) timers.Dequeue();
            return timers.TryPeek(out _, out var next) ? next.At.UtcDateTime : null;
        }
    }

    public void AdvanceTo(DateTime to)
    {
        while (NextTimer is { } at && at <= to)
        {
            now = Later(new DateTimeOffset(at, TimeSpan.Zero));
            timers.Dequeue().Fire();
        }
        now = Later(new DateTimeOffset(to, TimeSpan.Zero));
    }

    DateTimeOffset Later(DateTimeOffset other) => other > now ? other : now;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    sealed class Timer(VirtualTime time, TimerCallback callback, object? state) : ITimer
    {
        /// <summary>Null: it is not set. A queue entry with a different time is outdated.</summary>
        public DateTimeOffset? Due { get; private set; }

        TimeSpan again;

        public void Fire()
        {
            Due = null;
            if (again > TimeSpan.Zero) Change(again, again);
            callback(state);
        }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            again = period == Timeout.InfiniteTimeSpan ? TimeSpan.Zero : period;
            Due = dueTime == Timeout.InfiniteTimeSpan ? null : time.now + dueTime;
            if (Due is { } at) time.timers.Enqueue(this, (at, time.numbers++));
            return true;
        }

        public void Dispose() => Due = null;

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
