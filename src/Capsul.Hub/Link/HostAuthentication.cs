using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Postgres;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>A Spoke that has shown a valid certificate.</summary>
/// <param name="Host">The host that it speaks for.</param>
/// <param name="Certificate">SHA-256 of the certificate.</param>
/// <param name="IsKnown">The database has this host with this certificate.</param>
/// <param name="IsRebuilding">It came, or comes, by the rebuild that is open.</param>
sealed record Caller(string Host, byte[] Certificate, bool IsKnown, bool IsRebuilding);

/// <summary>
/// Whose certificate a Spoke shows. It must equal the one in the database for its host byte for byte; only while a lost
/// database is being rebuilt, and only for hosts that the database does not know, one that this Hub's authority signed
/// is enough.
/// </summary>
sealed class HostAuthentication(Db db, Authority authority, TimeProvider time)
{
    /// <exception cref="RpcException">Unauthenticated, with the reason.</exception>
    public async Task<Caller> RunAsync(ServerCallContext context)
    {
        var cancel = context.CancellationToken;
        if (context.GetHttpContext().Connection.ClientCertificate is not { } certificate)
            throw Refused("A client certificate is required.");
        var hash = SHA256.HashData(certificate.RawData);
        var now = time.GetUtcNow().UtcDateTime;
        if (now > certificate.NotAfter.ToUniversalTime() || now < certificate.NotBefore.ToUniversalTime())
            throw Refused("The client certificate has expired; join again with a new token.");
        if (await db.FindAsync<CertifiedHostRow>(HostSql.ByCertificate, new { hash }, cancel) is not { } host)
            return await FindUnknownAsync(certificate, hash, cancel);
        if (host.IsNew)
            await db.ExecuteAsync(HostSql.UseCertificate,
                new { id = host.Id, hash, ends = certificate.NotAfter.ToUniversalTime() }, cancel);
        return new Caller(host.Id, hash, IsKnown: true,
            await db.AskAsync<bool>(RebuildSql.IsRebuilding, new { host = host.Id }, cancel));
    }

    /// <summary>A host that was revoked, or has another certificate by now, is known to the database.</summary>
    async Task<Caller> FindUnknownAsync(X509Certificate2 certificate, byte[] hash, CancellationToken cancel)
    {
        if (authority.HostOf(certificate, time) is not { } host || InviteHost.Decide(host) is not null
            || await db.FindAsync<string>(HostSql.StateOf, new { id = host }, cancel) is not null)
            throw Refused("This client certificate does not belong to a current host of this Hub.");
        if (!await db.AskAsync<bool>(RebuildSql.IsOpen, null, cancel))
            throw Refused($"This Hub's database does not know the host {host}. If the database was rebuilt while "
                + $"{host} was away, run on the Hub: capsul hub rebuild --from-spokes. Otherwise join again with a new "
                + "token.");
        return new Caller(host, hash, IsKnown: false, IsRebuilding: true);
    }

    static RpcException Refused(string why) => new(new Status(StatusCode.Unauthenticated, why));
}
