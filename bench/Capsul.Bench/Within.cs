using Capsul.Foundation;

namespace Capsul.Bench;

/// <summary>Every wait of a bench ends: with what was waited for, or with a sentence.</summary>
static class Within
{
    /// <summary>How often a bench looks, on both sides: as often as the Hub and pg_ctl do.</summary>
    public static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(100);

    /// <param name="limit">Longest time for it.</param>
    /// <param name="what">What is waited for; begins the sentence.</param>
    /// <param name="work">It, which is told when the time is over.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="ProblemException">Unavailable: the time was over.</exception>
    public static async Task<T> LimitAsync<T>(
        TimeSpan limit, string what, Func<CancellationToken, Task<T>> work, CancellationToken cancel)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        both.CancelAfter(limit);
        try
        {
            return await work(both.Token);
        }
        catch (OperationCanceledException error) when (!cancel.IsCancellationRequested)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"{what} took longer than {limit.TotalSeconds:0} s, which is the limit.", null, error);
        }
    }

    /// <summary>The same for work that gives nothing.</summary>
    public static Task LimitAsync(
        TimeSpan limit, string what, Func<CancellationToken, Task> work, CancellationToken cancel) =>
        LimitAsync(limit, what, async token =>
        {
            await work(token);
            return true;
        }, cancel);

    /// <summary>Looks until it holds.</summary>
    public static Task HoldsAsync(
        TimeSpan limit, string what, Func<CancellationToken, Task<bool>> holds, CancellationToken cancel) =>
        LimitAsync(limit, what, async token =>
        {
            while (!await holds(token)) await Task.Delay(LookEvery, token);
        }, cancel);
}
