using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Closings;

/// <summary>An account that is being closed stays after all, with all that it has left.</summary>
public static class ReopenAccount
{
    /// <summary>The refusal, or null. When the time is over, capsuls may be gone already.</summary>
    public static Problem? Decide(ClosingRow? closing, DateTime now) => closing switch
    {
        null => new(ProblemKind.NotFound, "This account is not being closed."),
        { Settled: not null } => new(ProblemKind.Conflict, "This account is closed. You can make a new one."),
        _ when closing.Due <= now => new(ProblemKind.Conflict,
            "The time in which this account could be reopened is over, and its capsuls are being deleted."),
        _ => null,
    };

    /// <returns>The account.</returns>
    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, string? account, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            var now = time.GetUtcNow().UtcDateTime;
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var closing = await transaction.FindAsync<ClosingRow>(ClosingSql.FindOf, new { email }, cancel);
            // Until it is over for the active Hub, too: nothing is deleted before.
            var trusted = await transaction.AskAsync<DateTime>(DunningSql.Trusted, new { now }, cancel);
            if (Decide(closing, trusted) is { } problem) return problem;
            await transaction.ExecuteAsync(ClosingSql.Reopen, new { id = closing!.Id, now }, cancel);
            await transaction.AuditAsync(actor, "reopen_account", email, $"closing {closing.Id}", cancel);
            return email;
        }, cancel);
}
