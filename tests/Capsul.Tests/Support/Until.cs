using System.Diagnostics;
using System.Net.Sockets;

namespace Capsul.Tests.Support;

/// <summary>Waits for a condition, with a time limit and a message for the timeout.</summary>
public static class Until
{
    static readonly TimeSpan Every = TimeSpan.FromMilliseconds(50);

    /// <summary>A limit is what an idle machine needs at most; a busy one is given this many times as long.</summary>
    const int Patience = 3;

    /// <param name="instead">What there is after the limit, for the message of the timeout.</param>
    public static Task TrueAsync(
        string what, TimeSpan limit, Func<Task<bool>> look, Func<Task<string>>? instead = null) =>
        SomeAsync<object>(what, limit, async () => await look() ? what : null, instead);

    /// <summary>The first result that is not null.</summary>
    public static async Task<T> SomeAsync<T>(
        string what, TimeSpan limit, Func<Task<T?>> look, Func<Task<string>>? instead = null) where T : class
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            if (await look() is { } found) return found;
            if (clock.Elapsed > limit * Patience)
                throw new TimeoutException($"After {clock.Elapsed.TotalSeconds:0} s still not: {what}."
                    + (instead is null ? "" : $"\n{await instead()}"));
            await Task.Delay(Every, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Whether something accepts connections on a loopback port now.</summary>
    public static async Task<bool> AnswersAsync(int port)
    {
        using var client = new TcpClient();
        try
        {
            await client.ConnectAsync("127.0.0.1", port, TestContext.Current.CancellationToken);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
