using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Features.Hosts;

/// <summary>
/// Creates a one-time token with which a machine joins as a host. A host that has joined before may join again.
/// </summary>
public static partial class InviteHost
{
    static readonly TimeSpan Lifetime = TimeSpan.FromHours(1);

    public static Problem? Decide(string name) => HostName().IsMatch(name)
        ? null
        : new(ProblemKind.Invalid, "A host's name is 1 to 63 lower-case letters, digits and hyphens.");

    /// <param name="address">host:port at which Spokes reach the Hub.</param>
    /// <param name="fingerprint">Fingerprint of the Hub's certificate authority.</param>
    public static Task<Outcome<JoinToken>> RunAsync(
        Db db, string actor, string name, string address,
        string fingerprint, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<JoinToken>(async transaction =>
        {
            if (Decide(name) is { } problem) return problem;
            if (!JoinToken.IsAddress(address))
                return new Problem(ProblemKind.Invalid, "CAPSUL_LINK_ADDRESS must be a host and a port, such as "
                    + $"hub.example.org:8443; \"{address}\" is not.");
            var now = time.GetUtcNow().UtcDateTime;
            var token = JoinToken.Make(address, fingerprint);
            await transaction.ExecuteAsync(HostSql.Invite, new { id = name }, cancel);
            await transaction.ExecuteAsync(HostSql.Reuse, new { id = name }, cancel);
            if (await transaction.FindAsync<string>(HostSql.StateOf, new { id = name }, cancel) == "revoked")
                return new Problem(ProblemKind.Conflict,
                    $"The host {name} was revoked. To let it join again: capsul host restore {name}");
            await transaction.ExecuteAsync(HostSql.AddToken,
                new { hash = JoinToken.Hash(token.Secret), host = name, now, expires = now + Lifetime }, cancel);
            await transaction.AuditAsync(actor, "invite_host", name, "", cancel);
            return token;
        }, cancel);

    [GeneratedRegex("^[a-z0-9][a-z0-9-]{0,62}$", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex HostName();
}
