namespace Capsul.Foundation;

/// <summary>
/// Wakes a waiter because something may have happened. Any number of sets before a wait count as one; a set is never
/// lost.
/// </summary>
public sealed class Signal
{
    readonly Lock gate = new();
    TaskCompletionSource next = New();

    public void Set()
    {
        lock (gate) next.TrySetResult();
    }

    /// <summary>Waits until it is set, for at most <paramref name="limit"/>. Returns whether it was set.</summary>
    public async Task<bool> WaitAsync(TimeSpan limit, TimeProvider time, CancellationToken cancel)
    {
        Task waiting;
        lock (gate) waiting = next.Task;
        if (!waiting.IsCompleted)
        {
            try
            {
                await waiting.WaitAsync(limit, time, cancel);
            }
            catch (TimeoutException)
            {
                return false;
            }
        }
        cancel.ThrowIfCancellationRequested();
        lock (gate) next = New();
        return true;
    }

    /// <summary>Whether it was set since the last wait; resets it.</summary>
    public bool Take()
    {
        lock (gate)
        {
            if (!next.Task.IsCompleted) return false;
            next = New();
            return true;
        }
    }

    static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
