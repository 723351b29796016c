using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Accounts;

public sealed class SignInTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(0, 0, 0, null)]
    [InlineData(2, 9, 19, null)]
    [InlineData(3, 3, 3, "already 3 mails")]
    [InlineData(0, 10, 0, "to this address")]
    [InlineData(0, 0, 20, "from your network")]
    public void Mails_a_link_up_to_the_limits(long live, long forAddress, long forIp, string? refusal)
    {
        var outcome = SignIn.Decide(new SignIn.Facts(Now, new SignInSql.Counted(live, forAddress, forIp)), "a@example.org");
        if (refusal is null)
        {
            outcome.OrThrow().ShouldBe(new SignIn.Plan("a@example.org", Now.AddMinutes(20)));
            return;
        }
        outcome.Problem!.Kind.ShouldBe(ProblemKind.RateLimited);
        outcome.Problem.Message.ShouldContain(refusal);
    }

    [Fact]
    public async Task A_mailed_link_signs_in_and_makes_the_account_at_first_use()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        (await visitor.PostAsync("/sign-in", Cancel, ("Email", "  Ada@Example.ORG ")).ReadAsync(Cancel)).Page.ShouldContain("Look into your mail");
        (await CountAsync(hub, "SELECT count(*) FROM accounts")).ShouldBe(0);

        var link = await hub.NewestLinkAsync("ada@example.org", Cancel);
        (await visitor.GetAsync(link, Cancel).ReadAsync(Cancel)).Page.ShouldContain("Sign out");

        (await CountAsync(hub, "SELECT count(*) FROM accounts WHERE email = 'ada@example.org'")).ShouldBe(1);
        (await visitor.ReadAsync("/keys", Cancel)).ShouldContain("ada@example.org");
    }

    [Fact]
    public async Task The_answer_does_not_tell_whether_the_account_exists()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var known = await hub.SignInAsync("known@example.org", Cancel);
        using var first = hub.Visit();
        using var second = hub.Visit();
        var answers = (
            await first.PostAsync("/sign-in", Cancel, ("Email", "known@example.org")).ReadAsync(Cancel),
            await second.PostAsync("/sign-in", Cancel, ("Email", "unknown@example.org")).ReadAsync(Cancel));
        answers.Item1.ShouldBe(answers.Item2);
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
    }

    [Fact]
    public async Task A_fourth_mail_is_refused_while_three_links_work()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        for (var i = 0; i < 3; i++)
            (await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel)).Status.ShouldBe(200);
        var refused = await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel);
        refused.Status.ShouldBe(429);
        refused.Page.ShouldContain("Use one of those");
        hub.Time.Advance(TimeSpan.FromMinutes(21));
        (await visitor.PostAsync("/sign-in", Cancel, ("Email", "ada@example.org")).ReadAsync(Cancel)).Status.ShouldBe(200);
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
    public async Task One_network_cannot_ask_for_links_to_ever_more_addresses()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        for (var i = 0; i < SignIn.MaxRecentForIp; i++)
            (await visitor.PostAsync("/sign-in", Cancel, ("Email", $"a{i}@example.org")).ReadAsync(Cancel)).Status.ShouldBe(200);
        (await visitor.PostAsync("/sign-in", Cancel, ("Email", "last@example.org")).ReadAsync(Cancel)).Status.ShouldBe(429);
    }

    [Fact]
    public async Task A_wrong_address_is_explained_beside_the_field()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        var answer = await visitor.PostAsync("/sign-in", Cancel, ("Email", "not an address")).ReadAsync(Cancel);
        answer.Status.ShouldBe(400);
        answer.Page.ShouldContain("looks like name@example.org");
        answer.Page.ShouldContain("value=\"not an address\"");
    }

    [Fact]
    public async Task A_form_without_its_token_is_refused()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/sign-in") { Content = new FormUrlEncodedContent([KeyValuePair.Create("Email", "a@example.org")]) };
        var answer = await visitor.SendAsync(request, Cancel).ReadAsync(Cancel);
        answer.Status.ShouldBe(400);
        answer.Page.ShouldContain("That did not work");
        (await CountAsync(hub, "SELECT count(*) FROM mails")).ShouldBe(0);
    }

    static Task<long> CountAsync(WebHub hub, string sql) => hub.Db.FindAsync<long>(sql, null, Cancel);
}
