using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>
/// What somebody decides about money that has arrived at the bank. A line whose payment is invalidated, by whatever
/// means, is open again: the database does that.
/// </summary>
public static class BookBankLine
{
    /// <summary>Lines that are booked at once.</summary>
    const int MaxAtOnce = 1000;

    /// <summary>Null: it may be assigned.</summary>
    public static Problem? Decide(BankLineRow? line, string state) => line switch
    {
        null => new(ProblemKind.NotFound, "There is no such line of the bank."),
        { State: "assigned" } => new(ProblemKind.Conflict, "This money has been assigned already."),
        { State: "ignored" } => new(ProblemKind.Conflict, "This line has been ignored."),
        { State: "returned" } => new(ProblemKind.Conflict, "This money has been sent back."),
        { State: "kept" } when state != "assigned" =>
            new(ProblemKind.Conflict, "This money is in the ledger already: it can only be assigned to an account."),
        _ => null,
    };

    /// <summary>It is this account's: a payment. Returns its ID.</summary>
    public static Task<Outcome<int>> AssignAsync(
        Db db, string actor, long id, string? email, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            if (EmailAddress.Parse(email ?? "").Refused(out var problem, out var address))
                return problem with { Field = "Email" };
            if ((await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { address } }, cancel)).Count == 0)
                return new Problem(ProblemKind.Invalid, $"There is no account {address}.") { Field = "Email" };
            var line = await transaction.FindAsync<BankLineRow>(BankLineSql.Lock, new { id }, cancel);
            if (Decide(line, "assigned") is { } refused) return refused;
            // What was kept is in the ledger already, without an owner.
            var payment = await RecordPayment.InAsync(transaction, address, line!.Amount,
                line.State == "kept" ? "assigned" : "bank", $"bank line {id}", actor, time.GetUtcNow().UtcDateTime,
                cancel, bankLine: id);
            await transaction.ExecuteAsync(BankLineSql.Assign, new { id, email = address, payment }, cancel);
            return payment;
        }, cancel);

    /// <summary>Nobody knows whose it is: it is booked, and waits among what is to be assigned.</summary>
    public static Task<Outcome<long>> KeepAsync(
        Db db, string actor, long id, TimeProvider time, CancellationToken cancel) =>
        SetAsync(db, actor, id, "kept", (transaction, line) => transaction.ExecuteAsync(LedgerSql.PostUnassigned,
            new { at = time.GetUtcNow().UtcDateTime, amount = line.Amount, note = $"bank line {id}" }, cancel), cancel);

    /// <summary>It is no customer's.</summary>
    public static Task<Outcome<long>> IgnoreAsync(Db db, string actor, long id, CancellationToken cancel) =>
        SetAsync(db, actor, id, "ignored", (_, _) => Task.CompletedTask, cancel);

    static Task<Outcome<long>> SetAsync(Db db, string actor, long id, string state,
        Func<NpgsqlTransaction, BankLineRow, Task> act, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            var line = await transaction.FindAsync<BankLineRow>(BankLineSql.Lock, new { id }, cancel);
            if (Decide(line, state) is { } refused) return refused;
            await act(transaction, line!);
            await transaction.ExecuteAsync(BankLineSql.SetState, new { id, state }, cancel);
            await transaction.AuditAsync(actor, "book_bank_line", $"bank line {id}", state, cancel);
            return id;
        }, cancel);

    /// <summary>All lines that have the code of an account, up to the last one that was looked at.</summary>
    public static async Task<Outcome<int>> AssignMatchedAsync(
        Db db, string actor, long last, TimeProvider time, CancellationToken cancel)
    {
        var count = 0;
        var lines = await db.ListAsync<BankLineRow>(BankLineSql.ListOpen, new { limit = MaxAtOnce }, cancel);
        foreach (var line in lines.Where(l => l is { State: "waiting", Email: not null } && l.Id <= last))
        {
            var outcome = await AssignAsync(db, actor, line.Id, line.Email, time, cancel);
            if (outcome.Problem is { Kind: not ProblemKind.Conflict } problem) return problem;
            if (outcome.Problem is null) count++;
        }
        return count;
    }
}
