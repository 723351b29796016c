using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Accounts;

public sealed class SignInLinkTests
{
    const string Email = "ada@example.org";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public void Decides_by_use_and_age()
    {
        var now = new DateTime(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);
        var live = new SignInTokenRow(Email, now.AddTicks(1), null, "");
        SignInLink.Decide(live, now).OrThrow().Email.ShouldBe(Email);
        SignInLink.Decide(live with { Expires = now }, now).Problem!.Message.ShouldContain("has expired");
        SignInLink.Decide(live with { Used = now }, now).Problem!.Message.ShouldContain("already been used");
        SignInLink.Decide(null, now).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
    }

    [Fact]
    public async Task A_link_signs_in_once()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var first = await hub.SignInAsync(Email, Cancel);
        var link = await hub.NewestLinkAsync(Email, Cancel);
        using var second = hub.Visit();
        var again = await second.GetAsync(link, Cancel).ReadAsync(Cancel);
        again.Status.ShouldBe(409);
        again.Page.ShouldContain("already been used");
        again.Page.ShouldContain("Request a new link");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM sessions", null, Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task A_link_expires_after_twenty_minutes()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using (await visitor.PostAsync("/sign-in", Cancel, ("Email", Email))) { }
        hub.Time.Advance(TimeSpan.FromMinutes(20));
        var late = await visitor.GetAsync(await hub.NewestLinkAsync(Email, Cancel), Cancel).ReadAsync(Cancel);
        late.Status.ShouldBe(409);
        late.Page.ShouldContain("has expired");
    }

    [Fact]
    public async Task An_unknown_link_is_not_found()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        (await visitor.GetAsync("/sign-in/" + Secret.Make(), Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
    }

    [Fact]
    public async Task A_mail_scanner_that_opens_the_link_does_not_use_it_up()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using (await visitor.PostAsync("/sign-in", Cancel, ("Email", Email))) { }
        var link = await hub.NewestLinkAsync(Email, Cancel);

        using var scanner = hub.Visit();
        var seen = await scanner.GetAsync(link, Cancel).ReadAsync(Cancel);
        seen.Status.ShouldBe(200);
        seen.Page.ShouldContain("Confirm sign-in");
        using (var head = new HttpRequestMessage(HttpMethod.Head, link))
        using (await visitor.SendAsync(head, Cancel)) { }
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM sessions", null, Cancel)).ShouldBe(0);

        (await visitor.GetAsync(link, Cancel).ReadAsync(Cancel)).Page.ShouldContain("Sign out");
    }

    [Fact]
    public async Task In_another_browser_the_button_signs_in()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var asking = hub.Visit();
        using (await asking.PostAsync("/sign-in", Cancel, ("Email", Email))) { }
        using var phone = hub.Visit();
        (await phone.PostAsync(await hub.NewestLinkAsync(Email, Cancel), Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("Sign out");
    }

    [Fact]
    public async Task Two_concurrent_uses_create_one_session()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        for (var round = 0; round < 5; round++)
        {
            using var asking = hub.Visit();
            using (await asking.PostAsync("/sign-in", Cancel, ("Email", $"a{round}@example.org"))) { }
            var link = await hub.NewestLinkAsync($"a{round}@example.org", Cancel);
            var answers = await Task.WhenAll(Enumerable.Range(0, 6).Select(async _ =>
            {
                using var visitor = hub.Visit();
                return (await visitor.GetAsync(link, Cancel).ReadAsync(Cancel)).Status;
            }));
            answers.Count(s => s == 200).ShouldBe(1);
            answers.Count(s => s == 409).ShouldBe(5);
            (await hub.Db.FindAsync<long>("SELECT count(*) FROM sessions WHERE email = @email",
                new { email = $"a{round}@example.org" }, Cancel)).ShouldBe(1);
        }
    }

    [Fact]
    public async Task Signing_out_ends_the_session_immediately()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync(Email, Cancel);
        var stolen = visitor.Cookies.GetCookies(hub.Address)["capsul-session"]!.Value;
        (await visitor.PostAsync("/sign-out", Cancel).ReadAsync(Cancel)).Page.ShouldContain("Sign in");
        using var thief = hub.Visit();
        thief.Cookies.Add(hub.Address, new System.Net.Cookie("capsul-session", stolen));
        (await thief.ReadAsync("/keys", Cancel)).ShouldContain("Email me a link");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM sessions", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task A_session_lasts_thirty_days_from_its_last_use()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync(Email, Cancel);
        for (var i = 0; i < 3; i++)
        {
            hub.Time.Advance(TimeSpan.FromDays(29));
            (await visitor.ReadAsync("/keys", Cancel)).ShouldContain("SSH keys");
        }
        hub.Time.Advance(TimeSpan.FromDays(30));
        (await visitor.ReadAsync("/keys", Cancel)).ShouldContain("Email me a link");
    }

    [Fact]
    public async Task Cookies_are_secure_over_tls_and_never_readable_by_scripts()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_BASE_URL", "https://capsul.example.org"));
        using var visitor = hub.Visit();
        using var page = await visitor.GetAsync("/sign-in", Cancel);
        var cookie = page.Headers.GetValues("Set-Cookie").Single();
        cookie.ShouldStartWith("__Host-capsul-form=");
        cookie.ShouldContain("secure");
        cookie.ShouldContain("httponly");
        page.Headers.GetValues("Strict-Transport-Security").Single().ShouldBe("max-age=31536000");
    }
}
