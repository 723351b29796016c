using System.Diagnostics;
using System.Net.Sockets;
using Capsul.Foundation;

namespace Capsul.Tests.Support;

/// <summary>Waits for a condition, with a time limit and a message for the timeout.</summary>
public static class Until
{
    /// <summary>Most is there within a second; what is not is looked for less often, because a look costs.</summary>
    static readonly TimeSpan Often = TimeSpan.FromMilliseconds(50), Seldom = TimeSpan.FromMilliseconds(200),
        OftenFor = TimeSpan.FromSeconds(1);

    /// <summary>A limit is what an idle machine needs at most; a busy one is given this many times as long.</summary>
    const int Patience = 3;

    /// <summary>For whatever waits otherwise: the same limit on a busy machine.</summary>
    public static TimeSpan Patient(TimeSpan limit) => limit * Patience;

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
            var (found, problem) = await LookAsync(look);
            if (found is not null) return found;
            if (clock.Elapsed > Patient(limit))
                throw new TimeoutException($"After {clock.Elapsed.TotalSeconds:0} s still not: {what}. {problem}"
                    + (instead is null ? "" : $"\n{await instead()}"));
            await Task.Delay(clock.Elapsed < OftenFor ? Often : Seldom, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>What is unavailable, or took too long for one look, may be there at the next.</summary>
    static async Task<(T? Found, string Problem)> LookAsync<T>(Func<Task<T?>> look) where T : class
    {
        try
        {
            return (await look(), "");
        }
        catch (ProblemException error) when (error.Problem.Kind == ProblemKind.Unavailable)
        {
            return (null, error.Message);
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
