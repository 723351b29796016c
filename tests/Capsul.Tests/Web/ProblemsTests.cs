using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Capsul.Tests.Support;

namespace Capsul.Tests.Web;

public sealed class ProblemsTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_unreachable_database_shows_a_page_without_details()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        await hub.LoseDatabaseAsync(Cancel);
        var answer = await visitor.GetAsync("/balance", Cancel).ReadAsync(Cancel);
        answer.Status.ShouldBe(503);
        answer.Page.ShouldContain("The database does not respond");
        answer.Page.ShouldNotContain("Npgsql");
        answer.Page.ShouldNotContain("Exception");
    }

    [Fact]
    public async Task A_statement_that_is_canceled_from_outside_asks_for_another_try()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        await using var holder = await hub.Db.OpenAloneAsync("holder", Cancel);
        await using var transaction = await holder.BeginTransactionAsync(Cancel);
        await transaction.ExecuteAsync("LOCK TABLE payments", null, Cancel);
        var asking = visitor.GetAsync("/balance", Cancel).ReadAsync(Cancel);
        await Until.TrueAsync("the page waits and is canceled", TimeSpan.FromSeconds(30), () => hub.Db.AskAsync<bool>(
            "SELECT coalesce(bool_or(pg_cancel_backend(pid)), FALSE) FROM pg_stat_activity "
            + "WHERE datname = current_database() AND wait_event_type = 'Lock'", null, Cancel));
        await transaction.RollbackAsync(Cancel);
        var answer = await asking;
        answer.Status.ShouldBe(503);
        answer.Page.ShouldContain("try again in a moment");
    }

    [Fact]
    public async Task A_bug_shows_a_page_without_details()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        await hub.Db.ExecuteAsync("ALTER TABLE ssh_keys RENAME COLUMN fingerprint TO gone", null, Cancel);
        var answer = await visitor.GetAsync("/keys", Cancel).ReadAsync(Cancel);
        answer.Status.ShouldBe(500);
        answer.Page.ShouldContain("Something went wrong");
        answer.Page.ShouldNotContain("fingerprint");
    }

    [Fact]
    public async Task An_oversized_request_is_refused()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        var answer =
            await visitor.PostAsync("/keys", Cancel, ("Key", new string('a', 100_000)), ("Name", "")).ReadAsync(Cancel);
        answer.Status.ShouldBeOneOf(400, 413);
        answer.Page.ShouldContain("<h1>");
    }

    [Fact]
    public async Task Too_many_requests_get_a_page_that_says_so()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        var statuses = new List<HttpStatusCode>();
        string page = "";
        for (var i = 0; i < 3000 && page.Length == 0; i++)
        {
            using var answer = await visitor.GetAsync(Assets.Url("favicon.svg"), Cancel);
            statuses.Add(answer.StatusCode);
            if (answer.StatusCode == HttpStatusCode.TooManyRequests)
                page = Visitor.Plain(await answer.Content.ReadAsStringAsync(Cancel));
        }
        page.ShouldContain("too many requests in a short time");
        statuses.Count.ShouldBeGreaterThan(Limits.Burst);
    }

    [Fact]
    public void Each_kind_of_problem_has_its_own_status()
    {
        foreach (var kind in Enum.GetValues<ProblemKind>())
        {
            var (title, sentence) = Problems.Explain(new Problem(kind, "x").HttpStatus);
            title.ShouldNotBe("Something went wrong", kind.ToString());
            sentence.ShouldNotBeEmpty();
        }
    }

    [Fact]
    public async Task The_problem_page_itself_is_not_found()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = hub.Visit();
        (await visitor.GetAsync(Problems.Path, Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
    }
}
