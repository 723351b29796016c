using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>An operator ends a sponsorship: nothing is paid any more, also not what is due and waits for the fund.
/// </summary>
public static class EndSponsorship
{
    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(SponsorshipRow? sponsorship) => sponsorship switch
    {
        null => new(ProblemKind.NotFound, "There is no such sponsorship."),
        { Ended: not null } => new(ProblemKind.Conflict, "This sponsorship has ended already."),
        _ => null,
    };

    /// <returns>The account.</returns>
    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, long id, string? reason, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var seen = await transaction.FindAsync<SponsorshipRow>(SponsorshipSql.Find, new { id }, cancel);
            await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { seen?.Email ?? "" } }, cancel);
            await transaction.FindAsync<long?>(SponsorshipSql.Lock, new { id }, cancel);
            var sponsorship = await transaction.FindAsync<SponsorshipRow>(SponsorshipSql.Find, new { id }, cancel);
            if (Decide(sponsorship) is { } problem) return problem;
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            await transaction.ExecuteAsync(
                SponsorshipSql.End, new { id, now = time.GetUtcNow().UtcDateTime }, cancel);
            await transaction.AuditAsync(actor, "end_sponsorship", sponsorship!.Email, string.Create(
                CultureInfo.InvariantCulture, $"sponsorship {id}; {why}"), cancel);
            return sponsorship.Email;
        }, cancel);
}
