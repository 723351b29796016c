using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Receipts;

/// <summary>
/// Makes the receipt of a payment when its owner asks for it, and credit notes for each time it ceased to count. What
/// follows from a receipt the active Hub makes by itself. Asked again, it makes only what is new. Numbers have no gaps,
/// and a receipt never changes.
/// </summary>
public static class IssueReceipt
{
    public static readonly Problem NotFound = new(ProblemKind.NotFound, "There is no such payment.");

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(ReceiptPaymentRow? payment, IReadOnlyList<ReceiptTurnRow> turns) =>
        payment is null ? NotFound
        : !payment.HasReceipt ? new(ProblemKind.Conflict,
            payment.Method == "opening" ? "This balance was carried over from another system; its receipts are there."
            : "There is no receipt for this: nobody paid it here.")
        : turns.Count == 0 ? new(ProblemKind.Conflict, "This payment has never counted, so there is no receipt.")
        : turns.Any(t => t.Seller is null) ? new(ProblemKind.Unavailable, "No seller is entered for the day of this "
            + "payment, so its receipt cannot be issued. Contact support.")
        : null;

    /// <returns>How many receipts and credit notes were made.</returns>
    public static Task<Outcome<int>> RunAsync(
        Db db, string email, int id, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync(transaction =>
            InAsync(transaction, email, email, id, time.GetUtcNow().UtcDateTime, cancel), cancel);

    /// <summary>The same for an operator, whosever payment it is.</summary>
    public static async Task<Outcome<int>> ByOperatorAsync(
        Db db, string actor, int id, TimeProvider time, CancellationToken cancel) =>
        await db.FindAsync<string>(ReceiptSql.FindOwner, new { id }, cancel) is not { } email ? NotFound
            : await db.DecideAsync(transaction =>
                InAsync(transaction, actor, email, id, time.GetUtcNow().UtcDateTime, cancel), cancel);

    /// <summary>In the caller's transaction. Returns how many receipts and credit notes were made.</summary>
    public static async Task<Outcome<int>> InAsync(NpgsqlTransaction transaction, string actor, string email, int id,
        DateTime now, CancellationToken cancel)
    {
        await transaction.FindAsync<int?>(ReceiptSql.LockPayment, new { id, email }, cancel);
        var payment = await transaction.FindAsync<ReceiptPaymentRow>(
            ReceiptSql.FindPayment, new { id, email }, cancel);
        var turns = await transaction.ListAsync<ReceiptTurnRow>(ReceiptSql.Turns, new { id }, cancel);
        if (Decide(payment, turns) is { } problem) return problem;
        var address = await FindAddressAsync(transaction, id, email, cancel);
        var (made, last) = (0, default(int?));
        foreach (var turn in turns)
        {
            var number = turn.Number;
            if (number is null)
            {
                number = await AddAsync(
                    transaction, turn, address, turn.IsReversal ? last : null, now, cancel);
                await transaction.AuditAsync(actor, "issue_receipt", $"payment {id}",
                    string.Create(CultureInfo.InvariantCulture, $"number {number}"), cancel);
                made++;
            }
            last = number;
        }
        return made;
    }

    /// <summary>
    /// A receipt is addressed as its owner wants it then; whatever follows from it is addressed like that one, also
    /// when the account is closed and nobody knows any more whose it was.
    /// </summary>
    static async Task<BillingAddressRow> FindAddressAsync(
        NpgsqlTransaction transaction, int payment, string email, CancellationToken cancel) =>
        await transaction.FindAsync<BillingAddressRow>(ReceiptSql.AddressOf, new { id = payment }, cancel)
            ?? await transaction.FindAsync<BillingAddressRow>(ReceiptSql.FindAddress, new { email }, cancel)
            ?? BillingAddressRow.None;

    /// <summary>Who has sold, and the tax, are what the ledger has: the database takes nothing else.</summary>
    static Task<int> AddAsync(NpgsqlTransaction transaction, ReceiptTurnRow turn, BillingAddressRow address,
        int? corrects, DateTime now, CancellationToken cancel) =>
        transaction.AskAsync<int>(ReceiptSql.Add, new
        {
            transaction = turn.Transaction,
            now,
            seller = turn.Seller,
            corrects,
            name = address.Name,
            address = address.Address,
            taxNumber = address.TaxNumber,
            gross = turn.Gross,
            net = turn.Net,
            tax = turn.Tax,
        }, cancel);
}
