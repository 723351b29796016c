using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
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
/// Asks providers about every payment that is not final, with growing pauses, and at once when an event has come. It
/// makes the calls that were written down: a checkout, a refund. A call whose answer was lost is made again with the
/// same key. What the provider answers is written down in one transaction with what counts of it.
/// </summary>
public sealed partial class ProviderPolling(Db db, Fence fence, Listener listener, PaymentProviders providers,
    Settings settings, TimeProvider time, ILogger<ProviderPolling> log) : IActingWork
{
    /// <summary>Calls at a time.</summary>
    const int AtOnce = 8;

    /// <summary>Providers forget the key of a call after a day.</summary>
    static readonly TimeSpan KeyLife = TimeSpan.FromHours(23);

    static readonly TimeSpan LongestSleep = TimeSpan.FromMinutes(1), SweepEvery = TimeSpan.FromHours(1),
        KeepBodies = TimeSpan.FromDays(90);

    /// <summary>Of a provider's clock and ours.</summary>
    static readonly TimeSpan ClockTolerance = TimeSpan.FromHours(1);

    const string Actor = "providers";

    sealed record RefundAnswer(ProviderRefundRow Refund, Outcome<RefundState> Answer);

    public string Name => "Payment providers";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        using var news = listener.Subscribe(Listener.Payments);
        await fence.ExecuteAsync(epoch, ProviderPaymentSql.Release, new { epoch }, cancel);
        for (var swept = DateTime.MinValue; !cancel.IsCancellationRequested;)
        {
            if (Now - swept > SweepEvery)
            {
                swept = Now;
                await fence.ExecuteAsync(
                    epoch, ProviderEventSql.ForgetBodies, new { before = swept - KeepBodies }, cancel);
            }
            if (await LookAsync(epoch, cancel) == 0) await news.WaitAsync(await SleepForAsync(cancel), cancel);
        }
    }

    async Task<TimeSpan> SleepForAsync(CancellationToken cancel)
    {
        var next = await db.FindAsync<DateTime?>(ProviderPaymentSql.NextPoll, null, cancel);
        var sleep = (next ?? DateTime.MaxValue) - Now;
        return sleep > LongestSleep ? LongestSleep : sleep < TimeSpan.Zero ? TimeSpan.Zero : sleep;
    }

    /// <summary>Asks about some of the payments that are due; returns how many.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var due = await fence.InTransactionAsync(epoch, transaction => transaction.ListAsync<ClaimedPaymentRow>(
            ProviderPaymentSql.Claim, new { epoch, now = Now, limit = AtOnce * 2 }, cancel), cancel);
        await Parallel.ForEachAsync(due,
            new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancel },
            async (row, token) => await TryAsync(epoch, row, token));
        return due.Count;
    }

    /// <summary>A payment that cannot be recorded does not keep the others from their turn.</summary>
    async Task TryAsync(long epoch, ClaimedPaymentRow row, CancellationToken cancel)
    {
        try
        {
            await AskAsync(epoch, row, cancel);
        }
        catch (PostgresException error)
        {
            Log.NotRecorded(log, error, row.Provider, row.Id);
            await FailAsync(epoch, row, new Problem(ProblemKind.Unavailable,
                "The provider's answer could not be recorded; the log says why."), final: false, cancel);
        }
    }

    async Task AskAsync(long epoch, ClaimedPaymentRow row, CancellationToken cancel)
    {
        if (providers.Find(row.Provider) is not { } provider)
            await FailAsync(epoch, row, new Problem(ProblemKind.Unavailable,
                $"The provider {row.Provider} is not configured any more."), final: false, cancel);
        else if (row.Reference is null && row.Automatic)
            await ChargeAsync(epoch, row, provider, cancel);
        else if (row.Reference is null)
            await CreateAsync(epoch, row, provider, cancel);
        else
            await AskAsync(epoch, row, provider, row.Reference, cancel);
    }

    async Task CreateAsync(
        long epoch, ClaimedPaymentRow row, IPaymentProvider provider, CancellationToken cancel)
    {
        if (Now - row.Created > KeyLife)
        {
            await FailAsync(epoch, row, new Problem(ProblemKind.Unavailable,
                "The provider did not answer for a day, so there is no page to pay on."), final: true, cancel);
            return;
        }
        var answer = await provider.CreateCheckoutAsync(new CheckoutRequest(
            row.Key, PaymentKey.IsFriends(row.Key) ? null : row.Email, row.Amount, settings.Currency.Code,
            providers.ReturnOf(row.ReturnTo)), cancel);
        if (answer.Refused(out var problem, out var checkout))
            await FailAsync(epoch, row, problem, final: problem.Kind != ProblemKind.Unavailable, cancel);
        else
            // An event that has come meanwhile stays unhandled: the provider has not been asked since.
            await RecordAsync(epoch, row with { LastEvent = 0 }, provider, checkout, [], new PaymentState(
                PaymentStatus.Open, 0, 0, 0, "", 0, null, settings.Currency.Code), cancel);
    }

    async Task AskAsync(
        long epoch, ClaimedPaymentRow row, IPaymentProvider provider, string reference, CancellationToken cancel)
    {
        var sent = new List<RefundAnswer>();
        foreach (var refund in await db.ListAsync<ProviderRefundRow>(
            ProviderRefundSql.OfPayment, new { payment = row.Id }, cancel))
        {
            if (row.Charge is null || !refund.IsWatched(provider.TellsRefunds, Now)) continue;
            var answer = await provider.RefundAsync(new RefundRequest(refund.Key, row.Charge, refund.Amount,
                settings.Currency.Code, refund.Reference, refund.Ends, Now > refund.Ends + ClockTolerance,
                refund.Withdrawn is not null, refund.Sent, refund.Moving), cancel);
            if (answer.Problem?.Kind != ProblemKind.Unavailable) sent.Add(new RefundAnswer(refund, answer));
            // Without an answer it stays as it is, and is asked for next time.
            else if (refund.IsOffered)
            {
                await FailAsync(epoch, row, answer.Problem!, final: false, cancel);
                return;
            }
        }
        // After the refunds, so that what it says contains them.
        if ((await provider.AskAsync(reference, cancel)).Refused(out var problem, out var state))
            await FailAsync(epoch, row, problem, final: false, cancel);
        else
            await RecordAsync(epoch, row, provider, null, sent, state, cancel);
    }

    Task RecordAsync(long epoch, ClaimedPaymentRow row, IPaymentProvider provider, Checkout? checkout,
        IReadOnlyList<RefundAnswer> sent, PaymentState state, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            var (id, now) = (row.Id, Now);
            await transaction.AskAsync<string>(ProviderPaymentSql.LockAccount, new { id }, cancel);
            await transaction.AskAsync<long>(ProviderPaymentSql.Lock, new { id }, cancel);
            if (checkout is not null)
                await transaction.ExecuteAsync(
                    ProviderPaymentSql.RecordCheckout, new { id, checkout.Reference, checkout.Url }, cancel);
            foreach (var (refund, answer) in sent) await RecordAsync(transaction, row, refund, answer, cancel);
            var known = await transaction.AskAsync<KnownPaymentRow>(
                ProviderPaymentSql.Known, new { id, row.LastEvent }, cancel);
            if (!provider.TellsRefunds) state = state with { Refunded = known.Sent };
            // What is pending is not spendable, whether the provider counts it already or not.
            else if (known.Pending > 0)
                state = state with { Refunded = Math.Max(state.Refunded, known.Sent + known.Pending) };
            var doubt = EndCharge.DoubtOf(row, state, settings.Currency.Code);
            var problem = doubt.Length > 0 ? doubt : ProblemOf(sent, known, state);
            if (row.Automatic)
                await EndCharge.InAsync(transaction, row, known.Status, state, doubt.Length > 0 ? doubt
                    : CreditPayment.ProblemOf(state, settings.Currency.Code), settings, time, cancel);
            var plan = CreditPayment.Decide(new CreditPayment.Facts(state, settings.Currency.Code,
                settings.Currency.Decimals, known.Credited, known.Sending,
                await transaction.ListAsync<CreditRow>(ProviderPaymentSql.Credits, new { id }, cancel),
                doubt.Length > 0));
            await CreditPayment.ApplyAsync(transaction, id, plan, CreditPayment.Why(state), Actor, now, cancel);
            await transaction.ExecuteAsync(ProviderPaymentSql.RecordState, new
            {
                id,
                state.Status,
                state.Received,
                state.Refunded,
                state.Held,
                state.Dispute,
                fee = decimal.Round(state.Fee, settings.Currency.Decimals),
                state.Charge,
                plan.Credited,
                now,
                // A refund without an answer is asked for again like a payment without one.
                waits = known.Unanswered,
                nextPoll = checkout is not null && row.Automatic ? now : NextPoll(row, provider, known, state, now),
                problem,
            }, cancel);
            return await transaction.ExecuteAsync(
                ProviderEventSql.Handle, new { id, row.LastEvent, now }, cancel);
        }, cancel);

    async Task RecordAsync(NpgsqlTransaction transaction, ClaimedPaymentRow row, ProviderRefundRow refund,
        Outcome<RefundState> answer, CancellationToken cancel)
    {
        var refused = answer.Refused(out var problem, out var state);
        var parts = RefundPayment.PartsOf(refund.Amount, state, settings.Currency.Decimals);
        await transaction.ExecuteAsync(ProviderRefundSql.Record, new
        {
            id = refund.Id,
            status = refused ? "refused" : state!.IsFinal ? "done" : state.Url.Length > 0 ? "offered" : "pending",
            reference = state?.Reference,
            problem = problem?.Message ?? state!.Problem,
            parts.Sent,
            parts.Claimed,
            parts.Moving,
            url = state?.Url ?? "",
        }, cancel);
        // Whoever paid for a friend is not known; they have their page.
        if (refused || state!.Url.Length == 0 || refund.IsOffered || PaymentKey.IsFriends(row.Key)) return;
        if (await transaction.FindAsync<string>(ProviderPaymentSql.Contact, new { id = row.Id }, cancel) is { } to)
            await new Outbox(time).EnqueueAsync(
                transaction, RefundMail.Write(to, refund.Amount, state.Url, refund.Ends, settings), cancel);
    }

    static DateTime? NextPoll(ClaimedPaymentRow row, IPaymentProvider provider, KnownPaymentRow known,
        PaymentState state, DateTime now) => known switch
        {
            { News: true } => now,
            { Unanswered: true } => PollPause.AfterFailure(row.Tries, now),
            { Offered: { } since } => PollPause.After(PaymentStatus.Pending, since, provider.LateFor, now),
            { Done: { } done } when provider.TellsRefunds && PollPause.AfterRefund(done, now) is { } next =>
                PollPause.After(state.Status, row.Created, provider.LateFor, now) is { } sooner && sooner < next
                    ? sooner : next,
            _ => PollPause.After(state.Status, row.Created, provider.LateFor, now),
        };

    string ProblemOf(IReadOnlyList<RefundAnswer> sent, KnownPaymentRow known, PaymentState state) =>
        sent.Select(s => s.Answer.Problem?.Message ?? s.Answer.Value!.Problem).FirstOrDefault(p => p.Length > 0)
            ?? (known.Unanswered ? "A refund has no answer yet." : null)
            ?? RefundPayment.ProblemOf(known.Claimed)
            ?? CreditPayment.ProblemOf(state, settings.Currency.Code);

    /// <param name="final">It is an answer, and nothing will come of this payment.</param>
    async Task FailAsync(
        long epoch, ClaimedPaymentRow row, Problem problem, bool final, CancellationToken cancel)
    {
        Log.Failed(log, row.Provider, row.Id, row.Tries, problem);
        await fence.InTransactionAsync(epoch, async transaction =>
        {
            if (final && row.Automatic)
                await EndChargeAsync(transaction, row, problem, cancel);
            return await transaction.ExecuteAsync(ProviderPaymentSql.RecordFailure, new
            {
                id = row.Id,
                failed = final,
                problem = problem.Message,
                now = Now,
                // What the provider has not known for half a year, it will not know.
                nextPoll = final || (problem.Kind == ProblemKind.NotFound && Now - row.Created > PollPause.PaidFor)
                    ? (DateTime?)null : PollPause.AfterFailure(row.Tries, Now),
            }, cancel);
        }, cancel);
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3400, Level = LogLevel.Warning,
            Message = "{Provider} was asked about payment {Id}, for the {Tries}th time without an answer: {Problem}")]
        public static partial void Failed(ILogger log, string provider, long id, int tries, Problem problem);

        [LoggerMessage(EventId = 3401, Level = LogLevel.Error,
            Message = "What {Provider} says about payment {Id} could not be recorded")]
        public static partial void NotRecorded(ILogger log, Exception error, string provider, long id);
    }
}
