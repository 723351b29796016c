using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Play;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// Payments, refunds and disputes at a provider that repeats 30 % of its events, loses 5 %, shuffles them, and does not
/// answer 1 % of the calls that it has carried out, while the Hub is killed again and again. In the end every balance
/// is compared with the provider's own list.
/// </summary>
static class PaymentsBench
{
    const int Accounts = 1000, EventsOfPayment = 3, Batch = 300, Seed = 7;
    const double Repeated = 0.30, Lost = 0.05, LostAnswers = 0.01;

    static readonly TimeSpan SettleLimit = TimeSpan.FromMinutes(20);

    public static async Task<int> RunAsync(bool check, int events, int kills, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            await using var stripe = await PlayStripe.StartAsync(TimeProvider.System, cancel);
            var settings = HubRun.SettingsFor(folder).With(stripe.Settings);
            (stripe.Faults.RepeatedEvents, stripe.Faults.LostEvents) = (Repeated, Lost);
            (stripe.Faults.LostAnswers, stripe.Faults.ShufflesEvents) = (LostAnswers, true);
            stripe.Faults.Seed(Seed);
            stripe.TellTo(HubRun.PagesOf(settings));
            await using var database = await BenchDatabase.OpenAsync(settings, cancel);
            await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(cancel);
            await database.Db.ExecuteAsync(PaymentsBenchSql.AddAccounts, new { accounts = Accounts }, cancel);
            var clock = Stopwatch.StartNew();
            await using (var hubs = new KilledHubs(settings, kills, await HubRun.StartAsync(settings, cancel)))
            {
                await PayAsync(database.Db, stripe, hubs, events, cancel);
                await SettleAsync(database.Db, cancel);
                var rate = stripe.EventsAccepted / clock.Elapsed.TotalSeconds;
                // The events that were lost: time passes, and the provider is asked.
                await database.Db.ExecuteAsync(PaymentsBenchSql.Due, null, cancel);
                await SettleAsync(database.Db, cancel);
                return await CompareAsync(check, database.Db, stripe, hubs, rate, cancel);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Payments are begun and paid in batches, and some of them sent back or disputed.</summary>
    static async Task PayAsync(
        Db db, PlayStripe stripe, KilledHubs hubs, int events, CancellationToken cancel)
    {
        var payments = events / EventsOfPayment;
        var paid = new HashSet<string>(StringComparer.Ordinal);
        for (var first = 0; first < payments; first += Batch)
        {
            var last = Math.Min(first + Batch, payments) - 1;
            await db.ExecuteAsync(PaymentsBenchSql.Begin, new { accounts = Accounts, first, last }, cancel);
            // The next ones are begun while these are paid: the Hub makes their checkouts meanwhile.
            await AwaitSessionsAsync(stripe, first, cancel);
            UseNew(stripe.Books, paid);
            // It is killed while it takes events and asks about payments.
            await Task.WhenAll(stripe.SendEventsAsync(cancel), hubs.MoveOnAsync((double)last / payments, cancel));
        }
        await SettleAsync(db, cancel);
        UseNew(stripe.Books, paid);
        await stripe.SendEventsAsync(cancel);
    }

    static Task AwaitSessionsAsync(PlayStripe stripe, int count, CancellationToken cancel) => Within.HoldsAsync(
        SettleLimit, "Making checkouts", _ => Task.FromResult(stripe.Books.Sessions.Count >= count), cancel);

    static void UseNew(PlayBooks books, HashSet<string> used)
    {
        foreach (var session in books.Sessions)
            if (used.Add(session.Id)) Use(books, session, used.Count);
    }

    /// <summary>One in twenty is never paid; of the others some are sent back, disputed, and decided.</summary>
    static void Use(PlayBooks books, PlaySession session, int number)
    {
        if (number % 20 == 0)
        {
            books.Expire(session.Id);
            return;
        }
        books.Pay(session.Id);
        if (number % 10 == 1)
            books.AddRefund(new Dictionary<string, string>(StringComparer.Ordinal)
            { ["payment_intent"] = session.Intent, ["amount"] = "250" });
        if (number % 30 == 2) books.Dispute(session.Id, "needs_response");
        if (number % 60 == 2) books.Dispute(session.Id, number % 120 == 2 ? "won" : "lost");
    }

    /// <summary>Until nothing waits. The Hub may have been killed while it was asking.</summary>
    static Task SettleAsync(Db db, CancellationToken cancel) => Within.HoldsAsync(
        SettleLimit, "Asking about all payments",
        async token => await db.AskAsync<long>(PaymentsBenchSql.Waiting, null, token) == 0, cancel);

    static async Task<int> CompareAsync(
        bool check, Db db, PlayStripe stripe, KilledHubs hubs, double rate, CancellationToken cancel)
    {
        var paid = (await db.ListAsync<PaidRow>(PaymentsBenchSql.Paid, null, cancel))
            .ToDictionary(p => p.Email, p => p.Paid, StringComparer.Ordinal);
        var wrong = stripe.Books.Sessions.GroupBy(s => s.Email, StringComparer.Ordinal)
            .Where(g => paid.GetValueOrDefault(g.Key) != g.Sum(s => s.Kept) / 100m).ToList();
        foreach (var account in wrong.Take(5))
            Console.WriteLine($"{account.Key} has {paid.GetValueOrDefault(account.Key)}, and the provider's list "
                + $"says {account.Sum(s => s.Kept) / 100m}");
        var differences = (await VerifyLedger.RunAsync(db, cancel)).Differences;
        foreach (var difference in differences.Take(5)) Console.WriteLine(difference);
        var sessions = stripe.Books.Sessions;
        Console.WriteLine($"{sessions.Count} checkouts, {sessions.Count(s => s.IsPaid)} paid, "
            + $"{sessions.Count(s => s.Refunds.Count > 0)} partly sent back, "
            + $"{sessions.Count(s => s.Dispute.Length > 0)} disputed; {stripe.EventsAccepted} events accepted, "
            + $"{stripe.Calls} calls answered or not");
        return Figures.Verdict(check, wrong.Count == 0 && differences.Count == 0,
            $"payments: {wrong.Count} wrong balances of {Accounts}, {differences.Count} differences in the ledger, "
            + $"{Figures.Text(rate, "0")} events a second, the Hub killed {hubs.Killed} times (bar 0 and 0)");
    }

    /// <summary>A Hub that is killed now and then, and started again.</summary>
    sealed class KilledHubs(Settings settings, int kills, Started first) : IAsyncDisposable
    {
        Started hub = first;

        public int Killed { get; private set; }

        /// <param name="part">How much of all has been done, 0 to 1.</param>
        public async Task MoveOnAsync(double part, CancellationToken cancel)
        {
            if (Killed >= kills || part < (Killed + 1.0) / (kills + 1)) return;
            await HubRun.AwaitActiveAsync(settings, cancel);
            await hub.EndAsync("KILL", cancel);
            await hub.DisposeAsync();
            Killed++;
            hub = HubRun.Begin(settings);
        }

        public ValueTask DisposeAsync() => hub.DisposeAsync();
    }
}
