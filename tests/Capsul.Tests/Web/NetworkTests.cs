using System.Net;
using System.Net.Http.Headers;
using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Tests.Support;

namespace Capsul.Tests.Web;

/// <summary>
/// Which proxies are trusted for the client's address, which host names are accepted, and how responses are compressed.
/// </summary>
public sealed class NetworkTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(null, "203.0.113.9", "203.0.113.9")]
    [InlineData("none", "203.0.113.9", "127.0.0.1")]
    [InlineData("10.0.0.0/8", "203.0.113.9", "127.0.0.1")]
    [InlineData("127.0.0.1", "203.0.113.9", "203.0.113.9")]
    [InlineData("127.0.0.1, 10.0.0.0/8", "203.0.113.9, 10.1.2.3", "203.0.113.9")]
    [InlineData("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9")]
    public async Task Only_a_trusted_proxy_may_forward_the_address(
        string? trusted, string forwarded, string counted)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_TRUSTED_PROXIES", trusted));
        using var visitor = hub.Visit(forwarded);
        using (await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org"))) { }
        (await hub.Db.FindAsync<string>("SELECT host(ip) FROM sign_in_tokens", null, Cancel)).ShouldBe(counted);
    }

    [Theory]
    [InlineData("here"), InlineData("10.0.0.0/33"), InlineData("10.0.0.1/8, x")]
    public void An_invalid_proxy_network_is_refused(string value) =>
        Should.Throw<ProblemException>(() => Load(("CAPSUL_TRUSTED_PROXIES", value))).Problem.Message.ShouldContain(
            "CAPSUL_TRUSTED_PROXIES");

    [Theory]
    [InlineData("0.0.0.0"), InlineData("192.0.2.1"), InlineData("::")]
    public void Development_does_not_listen_on_public_addresses(string address)
    {
        Should.Throw<ProblemException>(() => Load(("CAPSUL_ENVIRONMENT", "development"), ("CAPSUL_LISTEN", address)))
            .Problem.Message.ShouldContain("CAPSUL_LISTEN must be 127.0.0.1 or ::1");
        Load(("CAPSUL_ENVIRONMENT", "production"), ("CAPSUL_LISTEN", address)).Development.ShouldBeFalse();
    }

    [Theory]
    [InlineData("development", "evil.example", 400)]
    [InlineData("development", "localhost", 200)]
    [InlineData("production", "cloud.example.org", 200)]
    public async Task Development_answers_only_to_names_of_this_machine(string environment, string name, int status)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", environment));
        using var visitor = hub.Visit();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/support");
        request.Headers.Host = name;
        using var answer = await visitor.SendAsync(request, Cancel);
        ((int)answer.StatusCode).ShouldBe(status);
    }

    [Theory]
    [InlineData("/"), InlineData("/about-ssh"), InlineData("css")]
    public async Task Pages_and_files_are_compressed(string path)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using var request = new HttpRequestMessage(HttpMethod.Get, path == "css" ? Assets.Url("capsul.css") : path);
        request.Headers.AcceptEncoding.Add(new StringWithQualityHeaderValue("br"));
        using var answer = await visitor.SendAsync(request, Cancel);
        answer.Content.Headers.ContentEncoding.ShouldBe(["br"]);
    }

    [Theory]
    [InlineData("/favicon.ico", "image/x-icon")]
    [InlineData("/robots.txt", "text/plain")]
    [InlineData("/.well-known/security.txt", "text/plain")]
    public async Task Well_known_files_exist(string path, string type)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_SUPPORT_EMAIL", "help@example.org"));
        using var visitor = hub.Visit();
        using var answer = await visitor.GetAsync(path, Cancel);
        answer.StatusCode.ShouldBe(HttpStatusCode.OK);
        answer.Content.Headers.ContentType!.MediaType.ShouldBe(type);
        if (path.EndsWith("security.txt", StringComparison.Ordinal))
            (await answer.Content.ReadAsStringAsync(Cancel))
                .ShouldContain("Contact: mailto:help@example.org\nExpires: 2027-03-01T00:00:00Z\n");
    }

    static Settings Load(params (string Name, string Value)[] values) =>
        Settings.Load(values.Append(("CAPSUL_DATA", Path.GetTempPath()))
            .ToDictionary(v => v.Item1, v => v.Item2, StringComparer.Ordinal));
}
