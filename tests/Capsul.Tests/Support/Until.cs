using System.Diagnostics;

namespace Capsul.Tests.Support;

/// <summary>Waiting for something to become true, with a limit and a sentence for when it does not.</summary>
public static class Until
{
    static readonly TimeSpan Every = TimeSpan.FromMilliseconds(50);

    public static Task TrueAsync(string what, TimeSpan limit, Func<Task<bool>> look) => SomeAsync<object>(what, limit, async () => await look() ? what : null);

    /// <summary>The first answer that is not null.</summary>
    public static async Task<T> SomeAsync<T>(string what, TimeSpan limit, Func<Task<T?>> look) where T : class
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            if (await look() is { } found) return found;
            if (clock.Elapsed > limit) throw new TimeoutException($"After {limit.TotalSeconds:0} s still not: {what}.");
            await Task.Delay(Every, TestContext.Current.CancellationToken);
        }
    }
}
