using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// Compares what a provider lists with the database. After a backup was restored, the payments since then are missing
/// in the database, and no event will tell of them again. What is imported is not believed either: the active Hub asks
/// about it as about any other payment.
/// </summary>
public static class ReconcilePayments
{
    /// <summary>Keys that are looked up at a time.</summary>
    const int BatchSize = 500;

    /// <summary>
    /// A payment is made there after it is written here, unless the clocks differ: what was written this much later
    /// than the time from which the provider lists must be in its list.
    /// </summary>
    static readonly TimeSpan ClockTolerance = TimeSpan.FromHours(1);

    /// <param name="Payment">Its number here; null: the database does not have it.</param>
    /// <param name="What">What is wrong, as the end of a sentence about it.</param>
    /// <param name="CanImport">It can be put right from what the provider has.</param>
    public sealed record Difference(FoundPayment Found, long? Payment, string What, bool CanImport = true);

    /// <param name="Compared">Payments of ours at the provider.</param>
    /// <param name="Paid">Those that were paid, as they were asked for.</param>
    public sealed record Report(
        int Compared, IReadOnlyList<Difference> Differences, int Imported, ComparedSums Paid);

    public static Difference? Compare(FoundPayment found, KnownByKeyRow? known) => (found, known) switch
    {
        ({ IsOver: true }, null or { Reference: null }) => null,
        (_, null) when EmailAddress.Parse(found.Email).Problem is not null || found.Amount <= 0 =>
            new(found, null, "is not in the database, and has no account", CanImport: false),
        (_, null) => new(found, null, "is not in the database"),
        (_, { Reference: null }) => new(found, known.Id, $"belongs to payment {known.Id}, which does not know of it"),
        (_, { Reference: var other }) when other != found.Reference => found.Status is PaymentStatus.Paid
            ? new(found, known.Id, $"was made twice for payment {known.Id}, and is not the one that counts",
                CanImport: false)
            : null,
        ({ Status: PaymentStatus.Paid }, { Received: 0 }) =>
            new(found, known.Id, $"is payment {known.Id}, of which nothing has arrived here"),
        _ => null,
    };

    /// <param name="since">Payments that were begun before are left out.</param>
    /// <param name="import">Put right what can be; otherwise nothing is changed.</param>
    public static async Task<Outcome<Report>> RunAsync(Db db, IPaymentProvider provider, DateTime since, bool import,
        string actor, TimeProvider time, CancellationToken cancel)
    {
        // Before the provider is asked: what is paid meanwhile may be here and not in its list.
        var before = await db.ListAsync<PaidHereRow>(
            ReconcileSql.PaidHere, new { provider = provider.Name, since = since + ClockTolerance }, cancel);
        if ((await provider.ListAsync(since, cancel)).Refused(out var problem, out var all)) return problem;
        var ours = all.Where(f => PaymentKey.IsOurs(f.Key)).ToList();
        var alive = ours.Where(f => !f.IsOver).Select(f => f.Key).ToHashSet(StringComparer.Ordinal);
        var missing = before.Where(b => !alive.Contains(b.Key)).ToList();
        var (differences, imported) = (missing.ConvertAll(Missing), 0);
        // One that was paid in part is on neither side: how much of it has arrived is asked for singly.
        var there = ours.Where(f => f.Status == PaymentStatus.Paid).Sum(f => f.Amount);
        var here = missing.Sum(b => b.Amount);
        foreach (var batch in ours.Chunk(BatchSize))
        {
            var known = (await db.ListAsync<KnownByKeyRow>(ReconcileSql.Known,
                new { keys = batch.Select(f => f.Key).ToArray() }, cancel))
                .ToDictionary(k => k.Key, StringComparer.Ordinal);
            here += batch.Sum(f => PaidHere(f, known.GetValueOrDefault(f.Key)));
            var found = batch.Select(f => Compare(f, known.GetValueOrDefault(f.Key))).OfType<Difference>().ToList();
            differences.AddRange(found);
            if (!import) continue;
            foreach (var difference in found.Where(d => d.CanImport))
                if (await ImportAsync(db, provider.Name, difference, actor, time, cancel)) imported++;
            await db.ExecuteAsync(ReconcileSql.DropUnknown,
                new { keys = batch.Where(f => f.IsOver).Select(f => f.Key).ToArray() }, cancel);
        }
        return new Report(ours.Count, differences, imported, new ComparedSums(there, here));
    }

    static Difference Missing(PaidHereRow row) => new(new FoundPayment(
        row.Key, row.Reference ?? "", "", row.Email, row.Amount, row.Currency, row.Created, PaymentStatus.Paid), row.Id,
        $"is paid as payment {row.Id} here, and not there", CanImport: false);

    /// <summary>What is here of a payment that was paid there; of one that was made twice, only one is.</summary>
    static decimal PaidHere(FoundPayment found, KnownByKeyRow? known) =>
        found.Status == PaymentStatus.Paid && known is { Status: PaymentStatus.Paid, Received: > 0 }
            && known.Reference == found.Reference ? known.Amount : 0;

    static Task<bool> ImportAsync(Db db, string provider, Difference difference, string actor, TimeProvider time,
        CancellationToken cancel) => db.InTransactionAsync(async transaction =>
    {
        var (found, now) = (difference.Found, time.GetUtcNow().UtcDateTime);
        var id = difference.Payment is { } known
            ? await MendAsync(transaction, known, found, now, cancel)
            : await AddAsync(transaction, provider, found, now, cancel);
        if (id is null) return false;
        await transaction.ExecuteAsync(ReconcileSql.TakeEvents, new { id, found.Key }, cancel);
        await transaction.AuditAsync(actor, "import_payment", $"provider payment {id}",
            string.Create(CultureInfo.InvariantCulture, $"{found.Amount} by {provider}, {found.Reference}"), cancel);
        return true;
    }, cancel);

    static async Task<long?> MendAsync(
        NpgsqlTransaction transaction, long id, FoundPayment found, DateTime now, CancellationToken cancel)
    {
        await transaction.FindAsync<string>(ProviderPaymentSql.LockAccount, new { id }, cancel);
        await transaction.FindAsync<long?>(ProviderPaymentSql.Lock, new { id }, cancel);
        var changed = await transaction.ExecuteAsync(
            ReconcileSql.SetCheckout, new { id, found.Reference, found.Url, now }, cancel);
        if (changed == 0) changed = await transaction.ExecuteAsync(ReconcileSql.AskAgain, new { id, now }, cancel);
        return changed == 0 ? null : id;
    }

    static async Task<long?> AddAsync(NpgsqlTransaction transaction, string provider, FoundPayment found, DateTime now,
        CancellationToken cancel)
    {
        var email = EmailAddress.Parse(found.Email).OrThrow();
        await transaction.ExecuteAsync(AccountSql.Create, new { email, now }, cancel);
        await transaction.ExecuteAsync(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
        return await transaction.FindAsync<long?>(ReconcileSql.Add, new
        {
            provider,
            email,
            found.Amount,
            found.Key,
            found.Created,
            found.Reference,
            found.Url,
            now,
            automatic = PaymentKey.IsCharge(found.Key),
        }, cancel);
    }
}
