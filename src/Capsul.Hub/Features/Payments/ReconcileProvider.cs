using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments;

/// <summary>What is there, and what is here of it.</summary>
public sealed record ComparedSums(decimal There, decimal Here);

/// <summary>
/// Compares everything that a provider lists with the database: payments, payouts to the bank, refunds. What was found
/// last is kept, for the public page of the ledger.
/// </summary>
public static class ReconcileProvider
{
    public sealed record Report(
        ReconcilePayments.Report Payments, ReconcilePayouts.Report Payouts, ReconcileRefunds.Report Refunds)
    {
        /// <summary>Payments and refunds that still differ.</summary>
        public int Left => Payments.Differences.Count - Payments.Imported + Refunds.Differences.Count
            - Refunds.Imported;

        /// <summary>Payouts that still do.</summary>
        public int Unbooked => Payouts.Differences.Count - Payouts.Booked;
    }

    /// <param name="since">What was begun before is left out.</param>
    /// <param name="import">Put right what can be; otherwise nothing is changed.</param>
    public static async Task<Outcome<Report>> RunAsync(Db db, Settings settings, IPaymentProvider provider,
        DateTime since, bool import, string actor, TimeProvider time, CancellationToken cancel)
    {
        if ((await ReconcilePayments.RunAsync(db, provider, since, import, actor, time, cancel))
            .Refused(out var problem, out var payments))
            return problem;
        if ((await ReconcilePayouts.RunAsync(db, settings, provider, since, import, actor, time, cancel))
            .Refused(out problem, out var payouts))
            return problem;
        return (await ReconcileRefunds.RunAsync(db, settings, provider, since, import, actor, time, cancel))
            .Refused(out problem, out var refunds) ? problem : new Report(payments, payouts, refunds);
    }

    /// <summary>Writes down what was found, or that there was no answer.</summary>
    public static Task<int> RecordAsync(NpgsqlTransaction transaction, string provider, DateTime since,
        Outcome<Report> found, DateTime now, CancellationToken cancel) =>
        found.Refused(out var problem, out var report)
            ? transaction.ExecuteAsync(
                ProviderTotalSql.RecordProblem, new { provider, now, problem = problem.Message }, cancel)
            : transaction.ExecuteAsync(ProviderTotalSql.Record, new
            {
                provider,
                now,
                since,
                paidThere = report.Payments.Paid.There,
                paidHere = report.Payments.Paid.Here,
                sentThere = report.Payouts.Sent.There,
                sentHere = report.Payouts.Sent.Here,
                differences = (long)report.Left,
                unbooked = (long)report.Unbooked,
            }, cancel);
}
