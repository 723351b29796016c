using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>
/// No charge begins any more. One that is written down already is carried through: whether it was made is not known
/// before its provider has answered.
/// </summary>
public static class TurnOffAutoTopUp
{
    /// <summary>The owner does it. False: it was off.</summary>
    public static Task<Outcome<bool>> RunAsync(
        Db db, string email, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<bool>(async transaction =>
        {
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            return await InAsync(
                transaction, email, OffReason.Owner, email, "", time.GetUtcNow().UtcDateTime, cancel);
        }, cancel);

    /// <summary>An operator does it, and says why.</summary>
    public static Task<Outcome<string>> ByOperatorAsync(Db db, string actor, string? account, string? reason,
        TimeProvider time, CancellationToken cancel) => db.DecideAsync<string>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            if (Reason.Parse(reason).Refused(out var problem, out var why)) return problem;
            return await InAsync(
                transaction, email, OffReason.Operator, actor, why, time.GetUtcNow().UtcDateTime, cancel)
                ? email : new Problem(ProblemKind.NotFound, $"{email} has no automatic top-up that is on.");
        }, cancel);

    /// <summary>The owner removes the card; it is taken away at the provider, too. False: there was none.</summary>
    public static Task<Outcome<bool>> RemoveCardAsync(
        Db db, string email, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<bool>(async transaction =>
        {
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            return await RemoveCardInAsync(
                transaction, email, OffReason.Card, email, time.GetUtcNow().UtcDateTime, cancel);
        }, cancel);

    /// <summary>In the caller's transaction, which has locked the account. False: it was off.</summary>
    /// <param name="because">One of <see cref="OffReason"/>.</param>
    public static async Task<bool> InAsync(NpgsqlTransaction transaction, string email, string because, string actor,
        string why, DateTime now, CancellationToken cancel)
    {
        if (await transaction.ExecuteAsync(AutoTopUpSql.TurnOff, new { email, because, now }, cancel) == 0)
            return false;
        await transaction.AuditAsync(actor, "turn_off_auto_top_up", email,
            why.Length > 0 ? $"{because}; {why}" : because, cancel);
        return true;
    }

    /// <summary>In the caller's transaction, which has locked the account. False: there was no card.</summary>
    public static async Task<bool> RemoveCardInAsync(NpgsqlTransaction transaction, string email, string because,
        string actor, DateTime now, CancellationToken cancel)
    {
        await InAsync(transaction, email, because, actor, "", now, cancel);
        if (await transaction.ExecuteAsync(SavedCardSql.Remove, new { email, now }, cancel) == 0) return false;
        await transaction.AuditAsync(actor, "remove_card", email, "", cancel);
        return true;
    }
}
