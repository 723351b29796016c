using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>
/// Takes in what a bank says has arrived. Nothing is booked: the lines wait for somebody who looks at them. A line that
/// has been taken in before is not taken in again.
/// </summary>
public static class ImportStatement
{
    /// <param name="Known">Taken in before.</param>
    /// <param name="Matched">New ones with the code of one account.</param>
    /// <param name="Foreign">In another currency: left out.</param>
    public sealed record Report(int New, int Known, int Matched, int Foreign, int Passed);

    public static async Task<Outcome<Report>> RunAsync(
        Db db, Settings settings, string actor, byte[] file, TimeProvider time, CancellationToken cancel)
    {
        if (BankFile.Read(file).Refused(out var problem, out var read)) return problem;
        var ours = read.Identified().Where(e => e.Entry.Currency.Length == 0
            || e.Entry.Currency.Equals(settings.Currency.Code, StringComparison.OrdinalIgnoreCase)).ToList();
        var places = settings.Currency.Decimals;
        if (ours.Find(e => e.Entry.Amount != decimal.Round(e.Entry.Amount, places)).Entry is { } entry)
            return BankFile.Wrong(string.Create(CultureInfo.InvariantCulture,
                $"The entry of {entry.Booked:yyyy-MM-dd} of {entry.Amount} has more decimal places ")
                + "than the currency has.");
        var emails = await WhoseAsync(db, [.. ours.Select(e => e.Entry.Message)], cancel);
        return await db.DecideAsync<Report>(async transaction =>
        {
            var added = await transaction.ListAsync<long>(BankLineSql.AddMany, new
            {
                entries = ours.Select(e => e.Id).ToArray(),
                booked = ours.Select(e => e.Entry.Booked).ToArray(),
                amounts = ours.Select(e => e.Entry.Amount).ToArray(),
                payers = ours.Select(e => e.Entry.Payer).ToArray(),
                messages = ours.Select(e => e.Entry.Message).ToArray(),
                emails,
                actor,
                now = time.GetUtcNow().UtcDateTime,
            }, cancel);
            await transaction.AuditAsync(actor, "import_statement", "bank", $"{added.Count} new lines", cancel);
            return new Report(added.Count, ours.Count - added.Count, emails.Count(e => e is not null),
                read.Entries.Count - ours.Count, read.Passed);
        }, cancel);
    }

    /// <summary>The account whose code is in each message; null if there is none, or several.</summary>
    static async Task<string?[]> WhoseAsync(Db db, string[] messages, CancellationToken cancel)
    {
        var found = messages.Select(ReferenceCode.FindAll).ToList();
        var whose = (await db.ListAsync<AccountReferenceRow>(AccountReferenceSql.WhoseAre,
            new { codes = found.SelectMany(f => f).Distinct(StringComparer.Ordinal).ToArray() }, cancel))
            .ToDictionary(r => r.Code, r => r.Email, StringComparer.Ordinal);
        return [.. found.Select(codes => codes.Where(whose.ContainsKey).Select(c => whose[c])
            .Distinct(StringComparer.Ordinal).ToList() is [var one] ? one : null)];
    }
}
