using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Dunning;

/// <summary>An account takes no further step for some days: its money is on its way, or nobody charges it.</summary>
public static class HoldDunning
{
    public const int MostDays = 3650;

    /// <summary>For how many days, and why.</summary>
    public sealed record Plan(int Days, string Reason);

    public static Outcome<Plan> Decide(string email, bool exists, string? days, string? reason)
    {
        if (!exists) return NotFound(email);
        if (!int.TryParse(days, NumberStyles.None, CultureInfo.InvariantCulture, out var count)
            || count is < 1 or > MostDays)
            return new Problem(ProblemKind.Invalid, $"Give a number of days from 1 to {MostDays}.") { Field = "Days" };
        return Reason.Parse(reason).Refused(out var problem, out var why) ? problem : new Plan(count, why);
    }

    internal static Problem NotFound(string email) =>
        new(ProblemKind.NotFound, $"There is no account {email}.") { Field = "Email" };

    /// <returns>Until when.</returns>
    public static Task<Outcome<DateTime>> RunAsync(Db db, string actor, string? account, string? days, string? reason,
        TimeProvider time, CancellationToken cancel) => db.DecideAsync<DateTime>(async transaction =>
        {
            var email = Normal(account);
            var exists = await transaction.FindAsync<bool>(DunningPageSql.AccountExists, new { email }, cancel);
            if (Decide(email, exists, days?.Trim(), reason).Refused(out var problem, out var plan)) return problem;
            var until = time.GetUtcNow().UtcDateTime.AddDays(plan.Days);
            await transaction.ExecuteAsync(
                DunningPageSql.Hold, new { email, until, reason = plan.Reason, actor }, cancel);
            await transaction.AuditAsync(actor, "hold_dunning", email, $"{plan.Days} days: {plan.Reason}", cancel);
            return until;
        }, cancel);

    /// <summary>Ends a hold.</summary>
    public static Task<Outcome<string>> ReleaseAsync(
        Db db, string actor, string? account, CancellationToken cancel) => db.DecideAsync<string>(async transaction =>
        {
            var email = Normal(account);
            if (await transaction.ExecuteAsync(DunningPageSql.Release, new { email }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, $"The account {email} is not held.") { Field = "Email" };
            await transaction.AuditAsync(actor, "release_dunning", email, "", cancel);
            return email;
        }, cancel);

    internal static string Normal(string? email) => (email ?? "").Trim().ToLowerInvariant();
}
