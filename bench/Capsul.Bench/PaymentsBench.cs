using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Play;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// Payments, refunds and disputes at a provider that repeats 30 % of its events, loses 5 %, shuffles them, and sends
/// 1 % again because it saw no answer in time; 1 % of its own answers are lost after it has acted. Meanwhile the Hub is
/// killed again and again. In the end every balance is compared with the provider's own list. The baseline are bare
/// inserts: as many rows as the server has written, in as many commits.
/// </summary>
static class PaymentsBench
{
    const int Accounts = 1000, EventsOfPayment = 3, Batch = 300, Seed = 7;
    const double Repeated = 0.30, Lost = 0.05, LostAnswers = 0.01, LateAnswers = 0.01;

    static readonly TimeSpan SettleLimit = TimeSpan.FromMinutes(20);

    /// <param name="Seconds">From the first payment until the last event was handled.</param>
    /// <param name="Commits">Of the server in that time.</param>
    /// <param name="Rows">That it has inserted or updated in that time.</param>
    sealed record Work(int Events, double Seconds, long Commits, long Rows)
    {
        public double Rate => Events / Seconds;
    }

    public static async Task<int> RunAsync(bool check, int events, int kills, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            await using var stripe = await PlayStripe.StartAsync(TimeProvider.System, cancel);
            var settings = HubRun.SettingsFor(folder).With(stripe.Settings);
            Spoil(stripe.Faults);
            stripe.TellTo(HubRun.PagesOf(settings));
            await using var database = await BenchDatabase.OpenAsync(settings, cancel);
            await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(cancel);
            await database.Db.ExecuteAsync(PaymentsBenchSql.AddAccounts, new { accounts = Accounts }, cancel);
            await using (var hubs = new KilledHubs(settings, kills, await HubRun.StartAsync(settings, cancel)))
            {
                var work = await WorkAsync(database.Db, stripe, hubs, events, cancel);
                // The events that were lost: time passes, and the provider is asked.
                await database.Db.ExecuteAsync(PaymentsBenchSql.Due, null, cancel);
                await SettleAsync(database.Db, cancel);
                await hubs.EndAsync(cancel);
                var bare = await BareAsync(database, folder, work, cancel);
                return await CompareAsync(check, database.Db, stripe, hubs, (work, bare), cancel);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static void Spoil(PlayFaults faults)
    {
        (faults.RepeatedEvents, faults.LostEvents, faults.ShufflesEvents) = (Repeated, Lost, true);
        (faults.LostAnswers, faults.LateEventAnswers) = (LostAnswers, LateAnswers);
        faults.Seed(Seed);
    }

    static async Task<Work> WorkAsync(
        Db db, PlayStripe stripe, KilledHubs hubs, int events, CancellationToken cancel)
    {
        var before = await db.AskAsync<WrittenRow>(PaymentsBenchSql.Written, null, cancel);
        var clock = Stopwatch.StartNew();
        await PayAsync(db, stripe, hubs, events, cancel);
        await SettleAsync(db, cancel);
        var seconds = clock.Elapsed.TotalSeconds;
        var after = await db.AskAsync<WrittenRow>(PaymentsBenchSql.Written, null, cancel);
        return new Work(
            stripe.EventsAccepted, seconds, after.Commits - before.Commits, after.Rows - before.Rows);
    }

    /// <summary>Payments are begun and paid in batches, and some of them sent back or disputed.</summary>
    static async Task PayAsync(
        Db db, PlayStripe stripe, KilledHubs hubs, int events, CancellationToken cancel)
    {
        var payments = events / EventsOfPayment;
        // At least one for each time that the Hub is killed.
        var batch = Math.Clamp(payments / (hubs.Kills + 2), 1, Batch);
        var paid = new HashSet<string>(StringComparer.Ordinal);
        for (var first = 0; first < payments; first += batch)
        {
            var last = Math.Min(first + batch, payments) - 1;
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

    /// <summary>Seconds that bare inserts of the same size take.</summary>
    static async Task<double> BareAsync(
        BenchDatabase database, string folder, Work work, CancellationToken cancel)
    {
        await database.Db.ExecuteAsync(PaymentsBenchSql.MakeBare, null, cancel);
        var file = Path.Combine(folder, "bare-payments.sql");
        var rows = Math.Max(1, (int)Math.Round((double)work.Rows / work.Commits));
        await File.WriteAllTextAsync(file, PaymentsBenchSql.BareScript, cancel);
        return work.Commits / await PgBench.RateAsync(database, file, rows, cancel);
    }

    static async Task<int> CompareAsync(bool check, Db db, PlayStripe stripe, KilledHubs hubs,
        (Work Ours, double Bare) took, CancellationToken cancel)
    {
        var sessions = stripe.Books.Sessions;
        var says = sessions.GroupBy(s => s.Email, StringComparer.Ordinal)
            .ToDictionary(g => g.Key, g => g.Sum(s => s.Kept) / 100m, StringComparer.Ordinal);
        var wrong = (await db.ListAsync<PaidRow>(PaymentsBenchSql.Paid, null, cancel))
            .Where(p => p.Paid != says.GetValueOrDefault(p.Email)).ToList();
        foreach (var account in wrong.Take(5))
            Console.WriteLine($"{account.Email} has {account.Paid}, and the provider's list says "
                + $"{says.GetValueOrDefault(account.Email)}");
        var counted = (await db.ListAsync<CountedRow>(PaymentsBenchSql.Counted, null, cancel))
            .ToDictionary(c => c.Reference, c => c.Counts, StringComparer.Ordinal);
        // A whole payment that counts more, or less, than the provider has kept of it.
        var twice = sessions.Count(s => counted.GetValueOrDefault(s.Id) > s.Kept / 100m);
        var lost = sessions.Count(s => counted.GetValueOrDefault(s.Id) < s.Kept / 100m);
        var differences = (await VerifyLedger.RunAsync(db, cancel)).Differences;
        foreach (var difference in differences.Take(5)) Console.WriteLine(difference);
        var (ours, bare) = took;
        Console.WriteLine($"{sessions.Count} checkouts, {sessions.Count(s => s.IsPaid)} paid, "
            + $"{sessions.Count(s => s.Refunds.Count > 0)} partly sent back, "
            + $"{sessions.Count(s => s.Dispute.Length > 0)} disputed; {ours.Events} events accepted, "
            + $"{stripe.Calls} calls answered or not");
        Console.WriteLine($"{Figures.Text(ours.Seconds, "0")} s for {ours.Commits} commits and {ours.Rows} rows, and "
            + $"{Figures.Text(bare, "0.0")} s for as many bare ones");
        return Figures.Verdict(check, wrong.Count + twice + lost + differences.Count == 0,
            $"payments: {wrong.Count} wrong balances of {Accounts}, {twice} payments credited too much, {lost} too "
            + $"little, {differences.Count} differences in the ledger (bar 0); {Figures.Text(ours.Rate, "0")} events a "
            + $"second with the Hub killed {hubs.Killed} times, {Figures.Text(bare / ours.Seconds, "0.000")} of bare "
            + "inserts of as many rows in as many commits");
    }

    /// <summary>A Hub that is killed now and then, and started again.</summary>
    sealed class KilledHubs(Settings settings, int kills, Started first) : IAsyncDisposable
    {
        Started hub = first;

        public int Kills => kills;

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

        public Task EndAsync(CancellationToken cancel) => hub.EndAsync("TERM", cancel);

        public ValueTask DisposeAsync() => hub.DisposeAsync();
    }
}
