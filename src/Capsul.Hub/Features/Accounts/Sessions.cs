using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Http;
using Npgsql;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// Signed-in browsers: rows in <c>sessions</c>, found by the cookie on each request. A session expires thirty days
/// after its last use.
/// </summary>
public sealed class Sessions(Db db, TimeProvider time, Site site)
{
    public static readonly TimeSpan Lifetime = TimeSpan.FromDays(30);

    /// <summary>The row and the cookie are renewed at most this often, so that reading a page is not a write.</summary>
    static readonly TimeSpan RenewAfter = TimeSpan.FromDays(1);

    string CookieName => site.Cookie("capsul-session");

    DateTime Now => time.GetUtcNow().UtcDateTime;

    /// <summary>
    /// Creates a session in the caller's transaction. Its ID goes into the cookie after the commit: <see
    /// cref="SetCookie"/>.
    /// </summary>
    public async Task<string> CreateAsync(NpgsqlTransaction transaction, string email, CancellationToken cancel)
    {
        var id = Secret.Make();
        await transaction.ExecuteAsync(AccountSql.CreateSession,
            new { hash = Secret.Hash(id), email, now = Now, expires = Now + Lifetime }, cancel);
        return id;
    }

    public void SetCookie(HttpContext context, string id) =>
        context.Response.Cookies.Append(CookieName, id, site.CookieFor(Lifetime));

    /// <summary>
    /// What identifies the request's session in <c>sessions</c>, valid or not; null if the request has none.
    /// </summary>
    public byte[]? HashOf(HttpContext context) =>
        context.Request.Cookies[CookieName] is { Length: > 0 and <= 100 } id ? Secret.Hash(id) : null;

    /// <summary>The request's session, or null.</summary>
    public async Task<SessionRow?> FindAsync(HttpContext context, CancellationToken cancel)
    {
        if (HashOf(context) is not { } hash) return null;
        if (await db.FindAsync<SessionRow>(AccountSql.FindSession, new { hash, now = Now }, cancel)
            is not { } session)
            return null;
        if (session.Expires - Now < Lifetime - RenewAfter)
        {
            await db.ExecuteAsync(AccountSql.ExtendSession, new { hash, expires = Now + Lifetime }, cancel);
            SetCookie(context, context.Request.Cookies[CookieName]!);
        }
        return session;
    }

    /// <summary>
    /// Whether the request's session is still valid, for streams that outlive the check at their start.
    /// </summary>
    public async Task<bool> IsLiveAsync(HttpContext context, CancellationToken cancel) =>
        HashOf(context) is { } hash
        && await db.FindAsync<bool>(AccountSql.IsSessionLive, new { hash, now = Now }, cancel);

    /// <summary>Ends the request's session, everywhere and immediately.</summary>
    public async Task EndAsync(HttpContext context, CancellationToken cancel)
    {
        if (HashOf(context) is { } hash)
            await db.ExecuteAsync(AccountSql.DeleteSession, new { hash }, cancel);
        context.Response.Cookies.Delete(CookieName, site.CookieFor(TimeSpan.Zero));
    }
}
