using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Dunning;

/// <summary>
/// Somebody whose email could not be delivered was told in another way: the time that the table gives begins now.
/// </summary>
public static class TellDunning
{
    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, string? account, string? reason, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var email = HoldDunning.Normal(account);
            if (Reason.Parse(reason).Refused(out var problem, out var why)) return problem;
            if (await transaction.ExecuteAsync(DunningPageSql.Tell, new { email }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, $"No email to {email} is waiting to be delivered.")
                {
                    Field = "Email",
                };
            await transaction.AuditAsync(actor, "tell_dunning", email, why, cancel);
            return email;
        }, cancel);
}
