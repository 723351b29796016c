namespace Capsul.Foundation;

/// <summary>How many use each of some things at a time, up to a limit.</summary>
public sealed class Places<T>(int most) where T : notnull
{
    readonly Lock gate = new();
    readonly Dictionary<T, int> taken = [];

    /// <summary>A place, which is free again once it is disposed; null: all are taken.</summary>
    public IDisposable? TryTake(T key)
    {
        lock (gate)
        {
            var count = taken.GetValueOrDefault(key);
            if (count >= most) return null;
            taken[key] = count + 1;
        }
        return new Place(this, key);
    }

    void Free(T key)
    {
        lock (gate)
        {
            if (--taken[key] == 0) taken.Remove(key);
        }
    }

    sealed class Place(Places<T> places, T key) : IDisposable
    {
        bool isFree;

        public void Dispose()
        {
            if (!Interlocked.Exchange(ref isFree, true)) places.Free(key);
        }
    }
}
