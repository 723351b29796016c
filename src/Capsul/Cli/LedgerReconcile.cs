using System.CommandLine;
using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Web;

namespace Capsul.Cli;

/// <summary><c>capsul ledger reconcile</c>.</summary>
static class LedgerReconcile
{
    static readonly string[] Names = [.. PaymentProviders.Known.Select(k => k.Name)];

    public static readonly Argument<string> Provider =
        new("PROVIDER") { Description = string.Join(" or ", Names) + "." };

    public static readonly Option<string> Since = new("--since")
    {
        Description = "Payments that were begun from then on: 7d ago, or a time in UTC such as 2026-02-15T03:00.",
        DefaultValueFactory = _ => "30d",
        HelpName = "WHEN",
    };

    public static readonly Option<bool> Import = new("--import")
    { Description = "Add what is missing, and ask again about what differs." };

    public static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        var since = DbLogs.ParseSince(parsed.GetValue(Since)!, TimeProvider.System);
        using var providers = new PaymentProviders(settings);
        var provider = providers.Find(parsed.GetValue(Provider)!) ?? throw new ProblemException(ProblemKind.NotFound,
            $"The provider {parsed.GetValue(Provider)} is not configured (docs/payments.md).");
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var (import, time) = (parsed.GetValue(Import), TimeProvider.System);
        var answer = await ReconcileProvider.RunAsync(
            database.Db, settings, provider, since, import, "cli", time, cancel);
        var now = time.GetUtcNow().UtcDateTime;
        // A shorter time says nothing of what differs before it.
        if (since <= now - ProviderCheck.Window)
            await database.Db.InTransactionAsync(transaction => ReconcileProvider.RecordAsync(
                transaction, provider.Name, since, answer, now, cancel), cancel);
        var (payments, payouts, refunds) = answer.OrThrow();
        foreach (var difference in payments.Differences) Console.WriteLine(Sentence(difference));
        foreach (var difference in payouts.Differences) Console.WriteLine(Sentence(difference));
        foreach (var difference in refunds.Differences) Console.WriteLine(Sentence(difference));
        var found = payments.Differences.Count + payouts.Differences.Count + refunds.Differences.Count;
        Console.WriteLine($"{Show.Count(payments.Compared, "payment", "payments")} and "
            + $"{Show.Count(payouts.Compared, "payout", "payouts")} at {provider.Name} since {Show.Time(since)}: "
            + (found == 0 ? "all are here." : Show.Count(found, "difference", "differences") + "."));
        Console.WriteLine(Sums("Paid", payments.Paid));
        Console.WriteLine(Sums("Sent to the bank", payouts.Sent));
        SayNext(provider.Name, payments, payouts, refunds, import);
        return found > payments.Imported + payouts.Booked + refunds.Imported ? 1 : 0;
    }

    static string Sums(string what, ComparedSums sums) => $"{what}: {Show.Dollars(sums.There)} there, "
        + $"{Show.Dollars(sums.Here)} here, {Show.Dollars(sums.There - sums.Here)} more there.";

    static void SayNext(string provider, ReconcilePayments.Report payments, ReconcilePayouts.Report payouts,
        ReconcileRefunds.Report refunds, bool import)
    {
        if (refunds.Imported > 0)
            Console.WriteLine($"{Show.Count(refunds.Imported, "refund was", "refunds were")} imported; the active Hub "
                + $"asks {provider} about each now.");
        if (payments.Imported > 0)
            Console.WriteLine($"{Show.Count(payments.Imported, "payment was", "payments were")} imported; the active "
                + $"Hub asks {provider} about each now.");
        if (payouts.Booked > 0)
            Console.WriteLine($"{Show.Count(payouts.Booked, "payout was", "payouts were")} booked.");
        if (!import && (payments.Differences.Any(d => d.CanImport)
            || refunds.Differences.Any(d => d.Payment is not null)
            || payouts.Differences.Any(d => d.Booking is not null || d.CameBack)))
            Console.WriteLine("To import them, unless they were recorded by hand already: add --import.");
    }

    static string Sentence(ReconcilePayouts.Difference difference) => string.Create(CultureInfo.InvariantCulture,
        $"{difference.Found.Reference}, {difference.Found.Amount} {difference.Found.Currency} sent to the bank for "
        + $"{difference.Found.Arrives:yyyy-MM-dd}: it {difference.What}.");

    static string Sentence(ReconcileRefunds.Difference difference) => string.Create(CultureInfo.InvariantCulture,
        $"{difference.Found.Reference}, a refund of {difference.Found.Amount}, offered "
        + $"{Show.Time(difference.Found.Created)}: it {difference.What}.");

    static string Sentence(ReconcilePayments.Difference difference) => string.Create(CultureInfo.InvariantCulture,
        $"{difference.Found.Reference} of {difference.Found.Email}, {difference.Found.Amount} "
        + $"{difference.Found.Currency}, begun {Show.Time(difference.Found.Created)}, {difference.Found.Status}: it "
        + $"{difference.What}.");
}
