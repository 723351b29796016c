using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.AccountLimits;

/// <summary>An operator approves a new account, which may create capsuls from then on. Its owner is emailed.</summary>
public static class ApproveAccount
{
    /// <returns>The account.</returns>
    public static Task<Outcome<string>> RunAsync(
        Db db, Settings settings, string actor, string? account, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            if (await transaction.ExecuteAsync(AccountSql.Approve, new { email }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, $"No account {email} waits to be approved.")
                {
                    Field = "Email",
                };
            await GiveTrial.InAsync(transaction, settings, email, time.GetUtcNow().UtcDateTime, cancel);
            await new Outbox(time).EnqueueAsync(transaction, Write(email, settings), cancel);
            await transaction.AuditAsync(actor, "approve_account", email, "", cancel);
            return email;
        }, cancel);

    public static Mail Write(string email, Settings settings) =>
        MailText.Write("approved", email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["link"] = Site.Link(settings, "/vms/new").ToString(),
        });
}
