using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.FriendLinks;

/// <summary>
/// A member makes a link by which others pay into the account. It is shown once; only a hash of its secret is kept.
/// </summary>
public static class MakeFriendLink
{
    public const int MaxNameChars = 40, MaxLive = 5;

    /// <summary>The name, on one line, or the refusal.</summary>
    /// <param name="live">Links of the account that work.</param>
    public static Outcome<string> Decide(bool exists, long live, string? name)
    {
        if (!exists) return new Problem(ProblemKind.NotFound, "There is no such account.") { Field = "Email" };
        var shown = string.Join(' ', (name ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        if (shown.Length is 0 or > MaxNameChars || shown.Any(char.IsControl))
            return new Problem(ProblemKind.Invalid,
                $"Enter the name that others see, of at most {MaxNameChars} characters.")
            { Field = "Name" };
        return live >= MaxLive
            ? new Problem(ProblemKind.Conflict, $"An account has at most {MaxLive} links that work. Revoke one first.")
            : shown;
    }

    /// <returns>The address of the page, which is kept nowhere.</returns>
    public static Task<Outcome<string>> RunAsync(Db db, Uri site, string actor, string? account, string? name,
        TimeProvider time, CancellationToken cancel) => db.DecideAsync<string>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            var found = await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var live = await transaction.AskAsync<long>(FriendLinkSql.CountLive, new { email }, cancel);
            if (Decide(found.Count > 0, live, name).Refused(out var problem, out var shown)) return problem;
            var code = Secret.Make();
            var id = await transaction.AskAsync<long>(FriendLinkSql.Add,
                new { email, hash = Secret.Hash(code), name = shown, now = time.GetUtcNow().UtcDateTime }, cancel);
            await transaction.AuditAsync(actor, "make_friend_link", email,
                string.Create(CultureInfo.InvariantCulture, $"link {id}"), cancel);
            return new Uri(site, $"/give/{code}").ToString();
        }, cancel);

    /// <summary>It leads nowhere from now on. Payments that were begun by it are still credited.</summary>
    public static Task<Outcome<long>> RevokeAsync(
        Db db, string actor, string? account, long id, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            if (await transaction.ExecuteAsync(
                FriendLinkSql.Revoke, new { id, email, now = time.GetUtcNow().UtcDateTime }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, "There is no such link, or it was revoked already.");
            await transaction.AuditAsync(actor, "revoke_friend_link", email,
                string.Create(CultureInfo.InvariantCulture, $"link {id}"), cancel);
            return id;
        }, cancel);
}
