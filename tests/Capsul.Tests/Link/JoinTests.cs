using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Tests.Link;

/// <summary>Who may use the link: tokens, certificates, versions, seats. A real Hub, simulated Spokes.</summary>
public sealed class JoinTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<Problem> RefusedAsync(Func<Task> what) =>
        (await Should.ThrowAsync<ProblemException>(what)).Problem;

    [Fact]
    public async Task A_token_can_be_used_once()
    {
        await using var link = await LinkHub.StartAsync();
        var token = await link.InviteAsync("rack1");
        (await Identity.JoinAsync(TestFolder.Make("rack1"), token, Cancel)).HostId.ShouldBe("rack1");
        (await RefusedAsync(() => Identity.JoinAsync(TestFolder.Make("rack1"), token, Cancel))).Message.ShouldContain(
            "unknown, expired or already used");
    }

    [Fact]
    public async Task The_link_requires_TLS_1_3()
    {
        await using var link = await LinkHub.StartAsync();
        (await HandshakeAsync(link.Hub.LinkPort, SslProtocols.Tls13)).ShouldBeNull();
        (await HandshakeAsync(link.Hub.LinkPort, SslProtocols.Tls12)).ShouldNotBeNull();
    }

    /// <summary>Null, or why there is no connection.</summary>
    static async Task<Exception?> HandshakeAsync(int port, SslProtocols version)
    {
        using var client = new TcpClient();
        await client.ConnectAsync("127.0.0.1", port, Cancel);
        await using var stream = new SslStream(client.GetStream());
        try
        {
            await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
            {
                TargetHost = "capsul-hub",
                EnabledSslProtocols = version,
                ApplicationProtocols = [SslApplicationProtocol.Http2],
                RemoteCertificateValidationCallback = (_, _, _, _) => true,
            }, Cancel);
            return null;
        }
        catch (Exception error) when (error is AuthenticationException or IOException)
        {
            return error;
        }
    }

    [Fact]
    public async Task Connections_over_the_limit_are_closed_immediately()
    {
        await using var link = await LinkHub.StartAsync(("CAPSUL_MAX_CONNECTIONS", "2"));
        using TcpClient first = new(), second = new(), third = new();
        foreach (var client in (TcpClient[])[first, second])
        {
            await client.ConnectAsync("127.0.0.1", link.Hub.Port, Cancel);
            await client.GetStream().WriteAsync("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), Cancel);
            (await client.GetStream().ReadAsync(new byte[1], Cancel)).ShouldBe(1);
        }
        await third.ConnectAsync("127.0.0.1", link.Hub.Port, Cancel);
        await third.GetStream().WriteAsync("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), Cancel);
        (await ReadOrResetAsync(third)).ShouldBe(0);
    }

    static async Task<int> ReadOrResetAsync(TcpClient client)
    {
        try
        {
            return await client.GetStream().ReadAsync(new byte[1], Cancel);
        }
        catch (IOException)
        {
            return 0;
        }
    }

    [Fact]
    public async Task A_token_expires_after_an_hour()
    {
        await using var link = await LinkHub.StartAsync();
        var token = await link.InviteAsync("rack1");
        link.Time.By = TimeSpan.FromMinutes(61);
        (await RefusedAsync(() => Identity.JoinAsync(TestFolder.Make("rack1"), token, Cancel))).Message.ShouldContain(
            "unknown, expired or already used");
        (await link.Db.FindAsync<string>("SELECT state FROM hosts", null, Cancel)).ShouldBe("invited");
    }

    [Fact]
    public async Task A_hub_other_than_the_tokens_gets_no_secret()
    {
        await using var link = await LinkHub.StartAsync();
        var token = await link.InviteAsync("rack1") with { Fingerprint = new string('0', 64) };
        (await RefusedAsync(() => Identity.JoinAsync(TestFolder.Make("rack1"), token, Cancel)))
            .Message.ShouldContain("is not the Hub that created this token");
        // The original token is still valid.
        (await link.Db.FindAsync<int>("SELECT count(*)::integer FROM join_tokens WHERE used IS NULL", null, Cancel))
            .ShouldBe(1);
    }

    [Fact]
    public async Task Joining_again_replaces_the_hosts_old_certificate()
    {
        await using var link = await LinkHub.StartAsync();
        var old = await link.JoinAsync("rack1");
        var anew = await link.JoinAsync("rack1");
        using (var refused = await ManualSpoke.DialAsync(old))
            (await refused.RefusalAsync()).StatusCode.ShouldBe(StatusCode.Unauthenticated);
        using var line = await ManualSpoke.DialAsync(anew);
        (await line.NextAsync(HubMessage.BodyOneofCase.Welcome)).Welcome.HostId.ShouldBe("rack1");
    }

    [Fact]
    public async Task A_revoked_host_is_disconnected_and_may_not_reconnect()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using (var line = await ManualSpoke.DialAsync(identity))
        {
            await line.NextAsync(HubMessage.BodyOneofCase.Wanted);
            await link.Db.ExecuteAsync(HostSql.Revoke, new { id = "rack1" }, Cancel);
            await line.BeatAsync();
            (await line.RefusalAsync()).ShouldSatisfyAllConditions(
                s => s.StatusCode.ShouldBe(StatusCode.PermissionDenied),
                s => s.Detail.ShouldBe("This host was revoked."));
        }
        (await link.IsOnlineAsync("rack1")).ShouldBeFalse();
        using (var again = await ManualSpoke.DialAsync(identity))
            (await again.RefusalAsync()).StatusCode.ShouldBe(StatusCode.Unauthenticated);
        using var channel = identity.Open();
        link.Time.By = TimeSpan.FromDays(70);
        (await RefusedAsync(() => identity.RenewAsync(channel, link.Time, Cancel))).Message.ShouldContain(
            "does not belong to a current host of this Hub");
    }

    [Fact]
    public async Task Nobody_connects_without_a_certificate_issued_by_this_hub()
    {
        await using var link = await LinkHub.StartAsync();
        await using var other = await LinkHub.StartAsync();
        var stranger = (await other.JoinAsync("rack1")).At($"127.0.0.1:{link.Hub.LinkPort}");
        using var line = await ManualSpoke.DialAsync(stranger);
        (await line.RefusalAsync()).StatusCode.ShouldNotBe(StatusCode.OK);
        (await link.Db.FindAsync<int>("SELECT count(*)::integer FROM hosts", null, Cancel)).ShouldBe(0);
    }

    [Theory]
    [InlineData(Protocol.Version + 2)]
    [InlineData(Protocol.Version + 20)]
    public async Task A_version_two_apart_is_refused_with_a_message(int protocol)
    {
        await using var link = await LinkHub.StartAsync();
        using var line = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"), protocol);
        (await line.RefusalAsync()).ShouldSatisfyAllConditions(
            s => s.StatusCode.ShouldBe(StatusCode.FailedPrecondition), s => s.Detail.ShouldContain(
                $"uses version {protocol} of the protocol and the Hub version {Protocol.Version}"));
        (await link.IsOnlineAsync("rack1")).ShouldBeFalse();
    }

    [Theory]
    [InlineData(Protocol.Version - 1)]
    [InlineData(Protocol.Version + 1)]
    public async Task A_version_one_apart_works(int protocol)
    {
        await using var link = await LinkHub.StartAsync();
        using var line = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"), protocol);
        (await line.NextAsync(HubMessage.BodyOneofCase.Welcome)).Welcome.Epoch.ShouldBe(1);
    }

    [Fact]
    public async Task A_certificate_about_to_expire_is_renewed_and_the_old_one_is_valid_until_the_new_one_is_used()
    {
        await using var link = await LinkHub.StartAsync();
        var folder = TestFolder.Make("rack1");
        var old = await link.JoinAsync("rack1", folder);
        var renewing = Identity.Load(folder)!;
        using (var channel = renewing.Open()) (await renewing.RenewAsync(channel, link.Time, Cancel)).ShouldBeFalse();

        link.Time.By = TimeSpan.FromDays(61);
        using (var channel = renewing.Open()) (await renewing.RenewAsync(channel, link.Time, Cancel)).ShouldBeTrue();
        using var kept = X509CertificateLoader.LoadPkcs12FromFile(Path.Combine(folder, "spoke", "identity.pfx"), null);
        kept.NotAfter.ToUniversalTime().ShouldBeGreaterThan(link.Time.GetUtcNow().UtcDateTime.AddDays(85));
        (await link.Db.FindAsync<byte[]>("SELECT certificate FROM hosts", null, Cancel))
            .ShouldBe(SHA256.HashData(kept.RawData));

        using (var before = await ManualSpoke.DialAsync(old)) await before.NextAsync(HubMessage.BodyOneofCase.Welcome);
        using (var line = await ManualSpoke.DialAsync(Identity.Load(folder)!))
            await line.NextAsync(HubMessage.BodyOneofCase.Welcome);
        using var after = await ManualSpoke.DialAsync(old);
        (await after.RefusalAsync()).StatusCode.ShouldBe(StatusCode.Unauthenticated);
    }

    [Fact]
    public async Task An_expired_certificate_is_rejected()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        link.Time.By = TimeSpan.FromDays(91);
        using var line = await ManualSpoke.DialAsync(identity);
        (await line.RefusalAsync()).Detail.ShouldContain("expired; join again");
    }
}
