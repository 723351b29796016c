using System.Net;
using System.Text.RegularExpressions;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Tests.Support;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Routing;

namespace Capsul.Tests.House;

/// <summary>Every route has a policy, and is requested without a session and with another account.</summary>
public sealed partial class RouteTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Every_route_names_its_policy()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        var routes = hub.Endpoints.OfType<RouteEndpoint>().ToList();
        routes.Count.ShouldBeGreaterThan(20);
        routes.Where(r => Policy(r) is not (Policies.Public or Policies.SignedIn or Policies.Operator))
            .Select(r => r.RoutePattern.RawText).ShouldBeEmpty();
    }

    [Fact]
    public async Task Every_signed_in_route_redirects_strangers_to_the_sign_in_page()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var client =
            new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = hub.Address };
        var tried = 0;
        foreach (var path in SignedInPaths(hub).Concat(OperatorPaths(hub)))
        {
            foreach (var method in new[] { HttpMethod.Get, HttpMethod.Post })
            {
                using var request = new HttpRequestMessage(method, path);
                using var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancel);
                tried++;
                if (path.EndsWith("/events", StringComparison.Ordinal))
                {
                    // For scripts; supports only GET.
                    answer.StatusCode.ShouldBe(
                        method == HttpMethod.Get ? HttpStatusCode.Unauthorized : HttpStatusCode.NotFound, path);
                    continue;
                }
                answer.StatusCode.ShouldBe(HttpStatusCode.Redirect, $"{method} {path}");
                answer.Headers.Location!.ToString().ShouldStartWith("/sign-in?returnUrl=%2F");
            }
        }
        tried.ShouldBeGreaterThan(15);
    }

    [Fact]
    public async Task Another_account_cannot_find_ours()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        using var eve = await hub.SignInAsync("eve@example.org", Cancel);
        var before = await StateAsync(hub);
        var tried = 0;
        foreach (var path in SignedInPaths(hub)
            .Where(p => p.Contains("capsul-", StringComparison.Ordinal) || p.Contains("/1", StringComparison.Ordinal)))
        {
            using (var answer = await eve.SendAsync(new HttpRequestMessage(HttpMethod.Get, path), Cancel))
                answer.StatusCode.ShouldBe(HttpStatusCode.NotFound, $"GET {path}");
            using (var answer = await eve.PostAsync("/keys", path, Cancel))
            {
                // A page without a form responds differently, but changes nothing.
                if (!IsReadOnly(path))
                    answer.StatusCode.ShouldBe(HttpStatusCode.NotFound, $"POST {path}");
            }
            if (!path.EndsWith("/events", StringComparison.Ordinal))
            {
                using var own = await owner.GetAsync(path, Cancel);
                own.StatusCode.ShouldBe(
                    HttpStatusCode.OK, $"GET {path} by its owner\n{string.Join('\n', hub.Log.Lines)}");
            }
            tried++;
        }
        tried.ShouldBeGreaterThanOrEqualTo(8);
        (await StateAsync(hub)).ShouldBe(before);
    }

    [Fact]
    public async Task Nobody_but_an_operator_finds_the_operators_pages()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        var before = await StateAsync(hub);
        var paths = OperatorPaths(hub).ToList();
        paths.Count.ShouldBeGreaterThanOrEqualTo(6);
        foreach (var path in paths)
        {
            using (var answer = await ops.GetAsync(path, Cancel))
                answer.StatusCode.ShouldBe(HttpStatusCode.OK, $"GET {path} by an operator");
            using (var answer = await owner.GetAsync(path, Cancel))
                answer.StatusCode.ShouldBe(HttpStatusCode.NotFound, $"GET {path}");
            foreach (var handler in (string[])["", "?handler=drain", "?handler=rename", "?handler=force",
                "?handler=refund"])
            {
                using var answer = await owner.PostAsync("/keys", path + handler, Cancel, ("Reason", "x"));
                answer.StatusCode.ShouldBe(HttpStatusCode.NotFound, $"POST {path}{handler}");
            }
        }
        (await StateAsync(hub)).ShouldBe(before);
    }

    [Fact]
    public async Task Exactly_the_actions_of_the_table_have_handlers()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        foreach (var handler in Handlers)
        {
            using var answer = await owner.PostAsync("/keys", $"{VmPage}?handler={handler}", Cancel);
            answer.StatusCode.ShouldNotBe(HttpStatusCode.MethodNotAllowed, handler);
        }
        foreach (var path in (string[])[VmPage, VmPage + "?handler=explode", "/console", "/about-ssh"])
        {
            using var answer = await owner.PostAsync("/keys", path, Cancel);
            answer.StatusCode.ShouldBe(HttpStatusCode.MethodNotAllowed, path);
        }
    }

    [Theory]
    [InlineData("/vms/capsul-running000"), InlineData("/console"),
        InlineData("/keys"), InlineData("/about-ssh"), InlineData("/")]
    public async Task An_unsupported_method_is_refused_and_not_logged_as_an_error(string path)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        using var request = new HttpRequestMessage(HttpMethod.Trace, path);
        using var answer = await owner.SendAsync(request, Cancel);
        answer.StatusCode.ShouldBe(HttpStatusCode.MethodNotAllowed);
    }

    [Fact]
    public async Task Every_response_has_the_security_headers()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        foreach (var path in (string[])["/", "/sign-out", "/keys", "/balance", "/console",
            "/vms/new", "/nowhere", "/keys/999/remove", Assets.Url("capsul.css"), "/about-ssh"])
        {
            using var answer = await visitor.GetAsync(path, Cancel);
            answer.Headers.GetValues("Content-Security-Policy").Single().ShouldBe(Headers.ContentSecurityPolicy, path);
            answer.Headers.GetValues("X-Content-Type-Options").Single().ShouldBe("nosniff", path);
            answer.Headers.GetValues("Referrer-Policy").Single().ShouldBe("same-origin", path);
            answer.Headers.GetValues("X-Frame-Options").Single().ShouldBe("DENY", path);
            answer.Headers.Contains("Server").ShouldBeFalse(path);
            answer.Headers.CacheControl.ShouldNotBeNull(path);
        }
    }

    /// <summary>The layout and the list of VMs write their links out; when a page moves, they do not follow.</summary>
    [Fact]
    public async Task Every_link_of_the_layout_and_the_list_leads_to_a_page()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", Sample.Email));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var stranger = hub.Visit();
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        foreach (var (visitor, path) in new[]
            { (stranger, "/about-ssh"), (owner, "/console"), (owner, "/console?q=nobody") })
        {
            var links = Link().Matches(await visitor.ReadAsync(path, Cancel))
                .Select(m => m.Groups["path"].Value).Distinct(StringComparer.Ordinal).ToList();
            links.Count.ShouldBeGreaterThan(5);
            foreach (var link in links)
            {
                using var answer = await visitor.GetAsync(link, Cancel);
                answer.StatusCode.ShouldBe(HttpStatusCode.OK, $"{link} on {path}");
            }
        }
    }

    /// <summary>Paths of the routes that require a sign-in, with the sample's IDs.</summary>
    static IEnumerable<string> SignedInPaths(WebHub hub) =>
        hub.Endpoints.OfType<RouteEndpoint>().Where(r => Policy(r) == Policies.SignedIn)
            .Select(r => "/" + r.RoutePattern.RawText!.TrimStart('/'))
            .Select(p => p.Contains("/operations/{n", StringComparison.Ordinal)
                ? "/vms/capsul-creating00/operations/1"
                : p.StartsWith("/vms/{id", StringComparison.Ordinal)
                ? Id().Replace(p, "capsul-running000")
                : Id().Replace(p, "1"))
            .SelectMany(p => p == VmPage ? Handlers.Select(h => $"{p}?handler={h}").Prepend(p) : [p])
            .Select(p => p.Contains('{', StringComparison.Ordinal)
                ? throw new InvalidOperationException($"This test does not know what to put into {p}.")
                : p)
            .Distinct();

    /// <summary>The same for those of operators.</summary>
    static IEnumerable<string> OperatorPaths(WebHub hub) =>
        hub.Endpoints.OfType<RouteEndpoint>().Where(r => Policy(r) == Policies.Operator)
            .Select(r => "/" + r.RoutePattern.RawText!.TrimStart('/'))
            .Select(p => p.Contains("/vms/", StringComparison.Ordinal) ? Id().Replace(p, "capsul-running000") : p)
            .Select(p => p.Replace("{id}", "host-1", StringComparison.Ordinal)
                .Replace("{n:long}", "1", StringComparison.Ordinal))
            .Distinct();

    static bool IsReadOnly(string path) => path.Contains("/operations/", StringComparison.Ordinal)
        || path.EndsWith("/events", StringComparison.Ordinal) || path == VmPage || path == VmPage + "/traffic"
        || path.StartsWith("/balance/payments/", StringComparison.Ordinal);

    const string VmPage = "/vms/capsul-running000";

    /// <summary>The named handlers on the page of a VM: the actions of the table, and cancel.</summary>
    static IEnumerable<string> Handlers => VmActions.All.Where(a => !a.Destroys).Select(a => a.Name).Append("cancel");

    static string? Policy(RouteEndpoint route) =>
        route.Metadata.GetOrderedMetadata<IAuthorizeData>().LastOrDefault()?.Policy;

    static Task<string?> StateAsync(WebHub hub) => hub.Db.FindAsync<string>(
        "SELECT (SELECT count(*) FROM ssh_keys) || ' ' || (SELECT string_agg(id || state || wanted, ' ' "
            + "ORDER BY id) FROM vms) || ' ' || (SELECT count(*) FROM operations WHERE asked IS NOT NULL)",
        null, Cancel);

    [GeneratedRegex(@"(href|action)=""(?<path>/[^""]*)""", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Link();

    [GeneratedRegex(@"\{id[^}]*\}", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Id();
}
