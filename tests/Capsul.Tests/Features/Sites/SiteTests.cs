using System.Net;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Sites;
using Capsul.Tests.Features.Consoles;
using Capsul.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Capsul.Tests.Features.Sites;

/// <summary>A Hub with a domain for VMs and a certificate for it, and a VM with a web server.</summary>
public sealed class SiteWorld : ConsoleWorld
{
    public const string Domain = "vms.example.org";

    readonly string folder = TestFolder.Make("sites");

    public int HttpsPort { get; } = Capsul.Foundation.Ports.TakeFree();

    protected override (string Name, string? Value)[] HubSettings
    {
        get
        {
            using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            var request = new CertificateRequest($"CN=*.{Domain}", key, HashAlgorithmName.SHA256);
            using var certificate = request.CreateSelfSigned(
                TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(1));
            File.WriteAllText(Path.Combine(folder, "certificate.pem"), certificate.ExportCertificatePem());
            File.WriteAllText(Path.Combine(folder, "key.pem"), key.ExportPkcs8PrivateKeyPem());
            return
            [
                ("CAPSUL_VM_DOMAIN", Domain), ("CAPSUL_VM_HTTPS_PORT", $"{HttpsPort}"),
                ("CAPSUL_HUB_PORTS_LISTEN", "127.0.0.1"),
                ("CAPSUL_VM_CERTIFICATE", Path.Combine(folder, "certificate.pem")),
                ("CAPSUL_VM_CERTIFICATE_KEY", Path.Combine(folder, "key.pem")),
            ];
        }
    }

    public Settings Settings => Settings.Load(new Dictionary<string, string>()).With(("CAPSUL_VM_DOMAIN", Domain));
}

/// <summary>Web servers of VMs at names of their own.</summary>
public sealed class SiteTests(SiteWorld world) : IClassFixture<SiteWorld>
{
    const int VmPort = 8000;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_name_leads_to_the_vm_and_to_nothing_of_the_hub()
    {
        await using var server = await ServeAsync();
        (await AddAsync("blog", $"{VmPort}")).OrThrow();
        (await AddAsync("blog", $"{VmPort}")).Problem!.Message.ShouldBe("This name is taken. Choose another.");
        using var client = new HttpClient(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false });

        using (var answer = await AskAsync(client, $"blog.{SiteWorld.Domain}", "sign-in"))
        {
            answer.StatusCode.ShouldBe(HttpStatusCode.OK);
            (await answer.Content.ReadAsStringAsync(Cancel)).ShouldBe(
                $"/sign-in of blog.{SiteWorld.Domain} for 127.0.0.1", "what the client forges is not passed on");
            answer.Headers.GetValues("Set-Cookie").ShouldBe(["a=1; path=/; httponly"], "for this name alone");
            answer.Headers.Contains("Content-Security-Policy").ShouldBeFalse("that is of the Hub's pages");
        }
        using (var answer = await AskAsync(client, $"BLOG.{SiteWorld.Domain}.", ""))
            answer.StatusCode.ShouldBe(HttpStatusCode.OK);
        foreach (var name in (string[])["nothing", "a.blog", ""])
        {
            using var answer = await AskAsync(client, $"{name}.{SiteWorld.Domain}".TrimStart('.'), "sign-in");
            if (name.Length > 0) answer.StatusCode.ShouldBe(HttpStatusCode.NotFound, name);
        }
        using (var answer = await AskAsync(client, "127.0.0.1", "sign-in"))
            (await answer.Content.ReadAsStringAsync(Cancel)).ShouldContain("form-token");

        var large = new byte[2 << 20];
        using (var answer = await client.SendAsync(new HttpRequestMessage(HttpMethod.Post, $"{world.Address}size")
        { Headers = { Host = $"blog.{SiteWorld.Domain}" }, Content = new ByteArrayContent(large) }, Cancel))
            (await answer.Content.ReadAsStringAsync(Cancel)).ShouldBe($"{large.Length}");

        await EchoAsync();
        await OverTlsAsync();

        (await ChangeAsync(new FirewallChange.Preset("ssh"))).OrThrow();
        using (var answer = await AskAsync(client, $"blog.{SiteWorld.Domain}", ""))
            answer.StatusCode.ShouldBe(HttpStatusCode.Forbidden);
        (await ChangeAsync(new FirewallChange.Preset("everything"))).OrThrow();
        await server.StopAsync(Cancel);
        (await RemoveSite.RunAsync(world.Link.Db, "b", "bob@example.org", world.Vm, "blog", Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
        (await RemoveSite.RunAsync(world.Link.Db, "a", VmRows.Email, world.Vm, "blog", Cancel)).OrThrow();
        using (var answer = await AskAsync(client, $"blog.{SiteWorld.Domain}", ""))
            answer.StatusCode.ShouldBe(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_server_that_does_not_answer_is_told()
    {
        (await AddAsync("dead", "9999")).OrThrow();
        using var client = new HttpClient(new SocketsHttpHandler { UseProxy = false });
        using var answer = await AskAsync(client, $"dead.{SiteWorld.Domain}", "");
        answer.StatusCode.ShouldBe(HttpStatusCode.BadGateway);
        (await answer.Content.ReadAsStringAsync(Cancel)).ShouldContain("does not answer at port 9999");
    }

    [Theory]
    [InlineData("www", "80", "Name")]
    [InlineData("a.b", "80", "Name")]
    [InlineData("-a", "80", "Name")]
    [InlineData("xn--bcher-kva", "80", "Name")]
    [InlineData("mine", "0", "SitePort")]
    public async Task Other_names_are_refused(string name, string port, string field) =>
        (await AddAsync(name, port)).Problem!.Field.ShouldBe(field);

    [Fact]
    public void The_pages_are_not_in_the_domain_of_vms()
    {
        foreach (var pages in (string[])["https://vms.example.org", "https://hub.vms.example.org"])
            Should.Throw<ProblemException>(() => world.Settings.With(("CAPSUL_BASE_URL", pages)));
        world.Settings.With(("CAPSUL_BASE_URL", "https://hub.example.org")).VmDomain.ShouldBe(SiteWorld.Domain);
    }

    async Task EchoAsync()
    {
        using var socket = new ClientWebSocket();
        socket.Options.SetRequestHeader("Host", $"blog.{SiteWorld.Domain}");
        await socket.ConnectAsync(new UriBuilder(world.Address) { Scheme = "ws", Path = "/echo" }.Uri, Cancel);
        await socket.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, endOfMessage: true, Cancel);
        var buffer = new byte[100];
        var got = await socket.ReceiveAsync(buffer.AsMemory(), Cancel);
        Encoding.UTF8.GetString(buffer, 0, got.Count).ShouldBe("hello");
        await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "", Cancel);
    }

    async Task OverTlsAsync()
    {
        var seen = "";
        using var client = new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false,
            SslOptions = new()
            {
                RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                {
                    seen = certificate!.Subject;
                    return true;
                },
            },
        });
        foreach (var (host, status) in (ValueTuple<string, HttpStatusCode>[])
            [($"blog.{SiteWorld.Domain}", HttpStatusCode.OK), ("127.0.0.1", HttpStatusCode.NotFound)])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, $"https://127.0.0.1:{world.HttpsPort}/sign-in")
            { Headers = { Host = host } };
            using var answer = await client.SendAsync(request, Cancel);
            answer.StatusCode.ShouldBe(status, host);
        }
        seen.ShouldBe($"CN=*.{SiteWorld.Domain}");
    }

    async Task<HttpResponseMessage> AskAsync(HttpClient client, string host, string path)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{world.Address}{path}");
        request.Headers.Host = host;
        request.Headers.Add("X-Forwarded-Host", "forged.example.org");
        return await client.SendAsync(request, Cancel);
    }

    Task<Outcome<SiteRow>> AddAsync(string name, string port) => AddSite.RunAsync(world.Link.Db, "a", VmRows.Email,
        world.Vm, name, port, world.Settings, TimeProvider.System, Cancel);

    Task<Outcome<FirewallState>> ChangeAsync(FirewallChange change) => ChangeFirewall.RunAsync(
        world.Link.Db, VmRows.Email, VmRows.Email, world.Vm, change, Cancel);

    /// <summary>The web server of the VM.</summary>
    async Task<WebApplication> ServeAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        var port = Capsul.Foundation.Ports.TakeFree();
        builder.WebHost.UseUrls($"http://127.0.0.1:{port}");
        var app = builder.Build();
        app.UseWebSockets();
        app.MapPost("/size", async (HttpRequest request) =>
        {
            var body = new MemoryStream();
            await request.Body.CopyToAsync(body, Cancel);
            return $"{body.Length}";
        });
        app.MapGet("/echo", async (HttpContext context) =>
        {
            using var socket = await context.WebSockets.AcceptWebSocketAsync();
            var buffer = new byte[100];
            while (await socket.ReceiveAsync(buffer, Cancel) is { MessageType: not WebSocketMessageType.Close } got)
                await socket.SendAsync(buffer.AsMemory(0, got.Count), got.MessageType, endOfMessage: true, Cancel);
            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "", Cancel);
        });
        app.MapFallback("{*path}", (HttpContext context) =>
        {
            context.Response.Headers.SetCookie = "a=1; path=/; Domain=example.org; httponly";
            return $"{context.Request.Path} of {context.Request.Host} for {context.Request.Headers["X-Forwarded-For"]}";
        });
        await app.StartAsync(Cancel);
        world.Hypervisor.Servers[VmPort] = port;
        return app;
    }
}
