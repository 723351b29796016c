using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Accounts;

public sealed class SignInTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(0, 0, 0, 0, 0, null)]
    [InlineData(2, 9, 19, 59, 1999, null)]
    [InlineData(3, 3, 3, 3, 3, "already sent 3 links")]
    [InlineData(0, 10, 0, 0, 10, "to this address")]
    [InlineData(0, 0, 20, 20, 20, "from your network")]
    [InlineData(0, 0, 0, 60, 60, "from your provider")]
    [InlineData(0, 0, 0, 0, 2000, "Too many people")]
    public void Mails_a_link_up_to_the_limits(
        long live, long forAddress, long forIp, long forSite, long all, string? refusal)
    {
        var counted = new AskedLinksRow(live, forAddress, forIp, forSite, all);
        var outcome = SignIn.Decide(new SignIn.Facts(Now, counted), "a@example.org");
        if (refusal is null)
        {
            outcome.OrThrow().ShouldBe(new SignIn.Plan("a@example.org", Now.AddMinutes(20)));
            return;
        }
        outcome.Problem!.Kind.ShouldBe(ProblemKind.RateLimited);
        outcome.Problem.Message.ShouldContain(refusal);
    }

    [Fact]
    public async Task An_emailed_link_signs_in_and_creates_the_account_on_first_use()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        (await visitor.PostAsync("/sign-in", Cancel, ("Email", "  Ada@Example.ORG ")).ReadAsync(Cancel))
            .Page.ShouldContain("Check your email");
        (await CountAsync(hub, "SELECT count(*) FROM accounts")).ShouldBe(0);

        var link = await hub.NewestLinkAsync("ada@example.org", Cancel);
        (await visitor.GetAsync(link, Cancel).ReadAsync(Cancel)).Page.ShouldContain("Sign out");

        (await CountAsync(hub, "SELECT count(*) FROM accounts WHERE email = 'ada@example.org'")).ShouldBe(1);
        (await visitor.ReadAsync("/keys", Cancel)).ShouldContain("ada@example.org");
    }

    [Fact]
    public async Task The_response_does_not_reveal_whether_the_account_exists()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var known = await hub.SignInAsync("known@example.org", Cancel);
        using var first = hub.Visit();
        using var second = hub.Visit();
        var answers = (
            await first.PostAsync("/sign-in", Cancel, ("Email", "known@example.org")).ReadAsync(Cancel),
            await second.PostAsync("/sign-in", Cancel, ("Email", "unknown@example.org")).ReadAsync(Cancel));
        answers.Item1.ShouldBe(
            answers.Item2 with { Page = answers.Item2.Page.Replace("unknown@", "known@", StringComparison.Ordinal) });
    }

    [Fact]
    public async Task Neither_link_nor_session_can_be_read_from_the_tables()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        var cookie = visitor.Cookies.GetCookies(hub.Address)["capsul-session"]!.Value;
        var stored = await hub.Db.FindAsync<byte[]>("SELECT id_hash FROM sessions", null, Cancel);
        stored.ShouldBe(Secret.Hash(cookie));
        System.Text.Encoding.UTF8.GetString(stored!).ShouldNotContain(cookie);
        var token = (await hub.NewestLinkAsync("ada@example.org", Cancel))["/sign-in/".Length..];
        var tables = await hub.Db.ListAsync<string>(
            "SELECT mails::text FROM mails UNION ALL SELECT sign_in_tokens::text FROM sign_in_tokens", null, Cancel);
        tables.ShouldAllBe(row => !row.Contains(token, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_fourth_email_is_refused_while_three_links_are_valid()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        for (var i = 0; i < 3; i++)
            (await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel))
                .Status.ShouldBe(200);
        var refused = await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel);
        refused.Status.ShouldBe(429);
        refused.Page.ShouldContain("Use one of those");
        hub.Time.Advance(TimeSpan.FromMinutes(21));
        (await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel))
            .Status.ShouldBe(200);
    }

    [Fact]
    public async Task Simultaneous_requests_do_not_slip_past_the_limit()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ =>
        {
            using var visitor = hub.Visit();
            return (await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel)).Status;
        }));
        answers.Count(s => s == 200).ShouldBe(3);
        answers.Count(s => s == 429).ShouldBe(5);
    }

    [Fact]
    public async Task One_network_cannot_request_links_to_more_and_more_addresses()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        for (var i = 0; i < SignIn.MaxRecentForIp; i++)
            (await visitor.PostAsync("/sign-in", Cancel, ("Email", $"a{i}@example.org")).ReadAsync(Cancel))
                .Status.ShouldBe(200);
        (await visitor.PostAsync("/sign-in", Cancel, ("Email", "last@example.org")).ReadAsync(Cancel))
            .Status.ShouldBe(429);
    }

    [Fact]
    public async Task Addresses_of_one_48_count_as_one()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        for (var i = 0; i <= SignIn.MaxRecentForSite; i++)
        {
            using var visitor = hub.Visit($"2001:db8:1:{i:x}::1");
            var status =
                (await visitor.PostAsync("/sign-in", Cancel, ("Email", $"a{i}@example.org")).ReadAsync(Cancel)).Status;
            status.ShouldBe(i < SignIn.MaxRecentForSite ? 200 : 429);
        }
        using var neighbour = hub.Visit("2001:db8:2::1");
        (await neighbour.PostAsync("/sign-in", Cancel, ("Email", "n@example.org")).ReadAsync(Cancel))
            .Status.ShouldBe(200);
    }

    [Fact]
    public async Task Without_a_mail_server_the_page_says_so_and_sends_nothing()
    {
        await using var hub = await WebHub.StartAsync(Cancel, WebHub.NoMail);
        using var visitor = hub.Visit();
        (await visitor.ReadAsync("/sign-in", Cancel)).ShouldContain("cannot send email yet");
        (await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel))
            .Status.ShouldBe(503);
        (await CountAsync(hub, "SELECT count(*) FROM mails")).ShouldBe(0);
    }

    [Theory]
    [InlineData("/balance", "<h1>Balance</h1>")]
    [InlineData("/vms/new?Size=f1-m", "<h1>Create a capsul</h1>")]
    public async Task A_deep_link_survives_the_sign_in(string path, string heading)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using var asked = await visitor.GetAsync(path, Cancel);
        var signIn = asked.RequestMessage!.RequestUri!.PathAndQuery;
        signIn.ShouldStartWith("/sign-in?returnUrl=");
        (await visitor.PostAsync(signIn, Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel))
            .Page.ShouldContain("ada@example.org");
        using var landed = await visitor.GetAsync(await hub.NewestLinkAsync("ada@example.org", Cancel), Cancel);
        landed.RequestMessage!.RequestUri!.PathAndQuery.ShouldBe(path);
        (await landed.Content.ReadAsStringAsync(Cancel)).ShouldContain(heading);
    }

    [Theory]
    [InlineData("https://evil.example"), InlineData("//evil.example"),
        InlineData("/\\evil.example"), InlineData("javascript:alert(1)")]
    public async Task The_sign_in_is_not_an_open_redirect(string to)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using (await visitor.PostAsync(
            "/sign-in?returnUrl=" + Uri.EscapeDataString(to), Cancel, ("Email", "ada@example.org"))) { }
        using var landed = await visitor.GetAsync(await hub.NewestLinkAsync("ada@example.org", Cancel), Cancel);
        landed.RequestMessage!.RequestUri!.PathAndQuery.ShouldBe("/vms/new");
    }

    [Fact]
    public async Task An_invalid_address_is_explained_beside_the_field()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        var answer = await visitor.PostAsync("/sign-in", Cancel, ("Email", "not an address")).ReadAsync(Cancel);
        answer.Status.ShouldBe(400);
        answer.Page.ShouldContain("looks like name@example.org");
        answer.Page.ShouldContain("value=\"not an address\"");
        answer.Page.ShouldContain("<title>Error: Sign in · Capsul</title>");
        answer.Page.ShouldContain("<a href=\"#Email\">");
    }

    [Fact]
    public async Task A_form_without_its_token_is_refused()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/sign-in")
        {
            Content = new FormUrlEncodedContent([KeyValuePair.Create("Email", "a@example.org")]),
        };
        var answer = await visitor.SendAsync(request, Cancel).ReadAsync(Cancel);
        answer.Status.ShouldBe(400);
        answer.Page.ShouldContain("That did not work");
        (await CountAsync(hub, "SELECT count(*) FROM mails")).ShouldBe(0);
    }

    static Task<long> CountAsync(WebHub hub, string sql) => hub.Db.FindAsync<long>(sql, null, Cancel);
}
