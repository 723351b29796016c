using Capsul.Foundation;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// Asks providers for the pages on which cards are entered, asks what has been entered, and has cards taken away, each
/// until there is an answer. Whatever is to be done is a row, so a Hub may end at any time.
/// </summary>
public sealed partial class SavedCardPolling(Db db, Fence fence, Listener listener, PaymentProviders providers,
    TimeProvider time, ILogger<SavedCardPolling> log) : IActingWork
{
    const int AtOnce = 8;

    /// <summary>A provider forgets the key of a call after a day, and its page is over then.</summary>
    static readonly TimeSpan KeyLife = TimeSpan.FromHours(23);

    /// <summary>A page of which the provider knows nothing any more is given up.</summary>
    static readonly TimeSpan PageLife = TimeSpan.FromDays(7);

    /// <summary>A card that is due may wait for its charge to end.</summary>
    static readonly TimeSpan ShortestSleep = TimeSpan.FromSeconds(1), LongestSleep = TimeSpan.FromMinutes(1);

    public string Name => "Saved cards";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        using var news = listener.Subscribe(Listener.Payments);
        await fence.ExecuteAsync(epoch, SavedCardSql.Release, new { epoch }, cancel);
        while (!cancel.IsCancellationRequested)
            if (await LookAsync(epoch, cancel) == 0) await news.WaitAsync(await SleepForAsync(cancel), cancel);
    }

    async Task<TimeSpan> SleepForAsync(CancellationToken cancel)
    {
        var next = await db.FindAsync<DateTime?>(SavedCardSql.NextPoll, null, cancel);
        var sleep = (next ?? DateTime.MaxValue) - Now;
        return sleep > LongestSleep ? LongestSleep : sleep < ShortestSleep ? ShortestSleep : sleep;
    }

    /// <summary>Asks about some of the cards that are due; returns how many.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var due = await fence.InTransactionAsync(epoch, transaction => transaction.ListAsync<ClaimedCardRow>(
            SavedCardSql.Claim, new { epoch, now = Now, limit = AtOnce * 2 }, cancel), cancel);
        await Parallel.ForEachAsync(due,
            new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancel },
            async (row, token) => await TryAsync(epoch, row, token));
        return due.Count;
    }

    async Task TryAsync(long epoch, ClaimedCardRow row, CancellationToken cancel)
    {
        try
        {
            await AskAsync(epoch, row, cancel);
        }
        catch (PostgresException error)
        {
            Log.NotRecorded(log, error, row.Provider, row.Id);
            await FailAsync(epoch, row, new Problem(ProblemKind.Unavailable,
                "The provider's answer could not be recorded; the log says why."), cancel);
        }
    }

    Task AskAsync(long epoch, ClaimedCardRow row, CancellationToken cancel) =>
        providers.Find(row.Provider) is not ISavedCards cards
            ? FailAsync(epoch, row, new Problem(ProblemKind.Unavailable,
                $"The provider {row.Provider} is not configured any more."), cancel)
            : row.Status switch
            {
                "new" => MakePageAsync(epoch, row, cards, cancel),
                "open" => AskPageAsync(epoch, row, cards, cancel),
                _ => RemoveAsync(epoch, row, cards, cancel),
            };

    async Task MakePageAsync(long epoch, ClaimedCardRow row, ISavedCards cards, CancellationToken cancel)
    {
        if (Now - row.Created > KeyLife || !row.Email.Contains('@', StringComparison.Ordinal))
            await GiveUpAsync(epoch, row, "The provider did not answer for a day.", cancel);
        else if ((await cards.CreateCardPageAsync(new CardPageRequest(row.Key, row.Email, row.ReturnTo), cancel))
            .Refused(out var problem, out var page))
        {
            if (problem.Kind == ProblemKind.Unavailable) await FailAsync(epoch, row, problem, cancel);
            else await GiveUpAsync(epoch, row, problem.Message, cancel);
        }
        else
            await fence.ExecuteAsync(epoch, SavedCardSql.RecordPage, new
            {
                id = row.Id,
                page.Customer,
                page.Reference,
                page.Url,
                nextPoll = PollPause.After(PaymentStatus.Open, row.Created, TimeSpan.Zero, Now),
            }, cancel);
    }

    async Task AskPageAsync(long epoch, ClaimedCardRow row, ISavedCards cards, CancellationToken cancel)
    {
        if ((await cards.AskCardPageAsync(row.Key, row.Reference!, cancel)).Refused(out var problem, out var state))
        {
            if (problem.Kind == ProblemKind.NotFound && Now - row.Created > PageLife)
                await GiveUpAsync(epoch, row, problem.Message, cancel);
            else await FailAsync(epoch, row, problem, cancel);
        }
        else if (state.Card is { } card) await RecordAsync(epoch, row, card, cancel);
        else if (state.IsOver) await GiveUpAsync(epoch, row, "", cancel);
        else
            await fence.ExecuteAsync(epoch, SavedCardSql.RecordOpen, new
            {
                id = row.Id,
                nextPoll = PollPause.After(PaymentStatus.Open, row.Created, TimeSpan.Zero, Now),
            }, cancel);
    }

    /// <summary>It takes the place of the card before, if the account is there to have one.</summary>
    Task<int> RecordAsync(long epoch, ClaimedCardRow row, EnteredCard card, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            var (id, now) = (row.Id, Now);
            var email = await transaction.AskAsync<string>(SavedCardSql.LockAccount, new { id }, cancel);
            if (await transaction.FindAsync<ClosingRow>(ClosingSql.FindOf, new { email }, cancel) is not null)
                return await transaction.ExecuteAsync(
                    SavedCardSql.RecordUnwanted, new { id, card.Method, now }, cancel);
            await transaction.ExecuteAsync(AutoTopUpSql.StartOver, new { email }, cancel);
            await transaction.ExecuteAsync(SavedCardSql.Remove, new { email, now }, cancel);
            await transaction.AuditAsync("providers", "record_card", email, "", cancel);
            return await transaction.ExecuteAsync(SavedCardSql.RecordCard,
                new { id, card.Method, card.Brand, card.LastFour, card.Expires }, cancel);
        }, cancel);

    async Task RemoveAsync(long epoch, ClaimedCardRow row, ISavedCards cards, CancellationToken cancel)
    {
        if ((await cards.RemoveCardAsync(row.Method!, cancel)).Refused(out var problem, out _))
            await FailAsync(epoch, row, problem, cancel);
        else
            await fence.ExecuteAsync(epoch, SavedCardSql.RecordRemoved, new { id = row.Id }, cancel);
    }

    Task<int> GiveUpAsync(long epoch, ClaimedCardRow row, string problem, CancellationToken cancel) =>
        fence.ExecuteAsync(epoch, SavedCardSql.RecordNone, new { id = row.Id, problem }, cancel);

    async Task FailAsync(long epoch, ClaimedCardRow row, Problem problem, CancellationToken cancel)
    {
        Log.Failed(log, row.Provider, row.Id, row.Tries, problem);
        await fence.ExecuteAsync(epoch, SavedCardSql.RecordFailure, new
        {
            id = row.Id,
            problem = problem.Message,
            now = Now,
            nextPoll = PollPause.AfterFailure(row.Tries, Now),
        }, cancel);
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3541, Level = LogLevel.Warning,
            Message = "{Provider} was asked about card {Id}, for the {Tries}th time without an answer: {Problem}")]
        public static partial void Failed(ILogger log, string provider, long id, int tries, Problem problem);

        [LoggerMessage(EventId = 3542, Level = LogLevel.Error,
            Message = "What {Provider} says about card {Id} could not be recorded")]
        public static partial void NotRecorded(ILogger log, Exception error, string provider, long id);
    }
}
