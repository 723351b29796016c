using System.Net;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Dunning;

public sealed class DunningPagesTests
{
    const string Page = "/operator/dunning";

    static readonly (string, string?) Operator = ("CAPSUL_OPERATOR_EMAIL", Sample.Email);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_operator_changes_the_table_holds_accounts_and_pauses()
    {
        await using var hub = await WebHub.StartAsync(Cancel, Operator);
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        await PostAsync(visitor, "Change", HttpStatusCode.OK, ("Step", "4"), ("Runway", "0"), ("After", "96"));
        (await hub.Db.FindAsync<int>("SELECT after_hours FROM dunning_steps WHERE step = 4", null, Cancel))
            .ShouldBe(96);
        (await PostAsync(visitor, "Change", HttpStatusCode.BadRequest, ("Step", "4"), ("Runway", "x")))
            .ShouldContain("href=\"#Runway-4\"");
        (await PostAsync(visitor, "Change", HttpStatusCode.BadRequest, ("Step", "4"), ("After", "1")))
            .ShouldContain("at least 24 hours");
        (await PostAsync(visitor, "Remove", HttpStatusCode.Conflict, ("Step", "3"))).ShouldContain("cannot go");
        (await PostAsync(visitor, "Add", HttpStatusCode.BadRequest, ("Behind", "3"), ("Does", "mail"), ("Runway", "0"),
            ("After", "soon"))).ShouldContain("href=\"#Add-After\"");
        (await PostAsync(visitor, "Add", HttpStatusCode.BadRequest, ("Behind", "3"), ("Does", "nothing"),
            ("Runway", "0"), ("After", "24"))).ShouldContain("href=\"#Does\"");
        (await PostAsync(visitor, "Add", HttpStatusCode.Conflict, ("Behind", "6"), ("Does", "mail"), ("Runway", "0"),
            ("After", "24"))).ShouldContain("Nothing comes after the step that deletes");
        await PostAsync(visitor, "Add", HttpStatusCode.OK, ("Behind", "3"), ("Does", "mail"),
            ("Template", "last_notice"), ("Runway", "0"), ("After", "48"));
        (await visitor.ReadAsync(Page, Cancel)).ShouldContain("7. Delete the capsuls");
        (await PostAsync(visitor, "Hold", HttpStatusCode.BadRequest,
            ("Email", Sample.Email), ("Days", "many"), ("Reason", "x"))).ShouldContain("href=\"#Days\"");
        await PostAsync(visitor, "Hold", HttpStatusCode.OK,
            ("Email", Sample.Email), ("Days", "3"), ("Reason", "pays by transfer"));
        (await visitor.ReadAsync(Page, Cancel)).ShouldContain("pays by transfer");
        (await visitor.ReadAsync("/balance", Cancel)).ShouldContain("an operator has set that");
        await PostAsync(visitor, "Release", HttpStatusCode.OK, ("Email", Sample.Email));
        (await PostAsync(visitor, "Tell", HttpStatusCode.NotFound, ("Email", Sample.Email), ("Reason", "by phone")))
            .ShouldContain("No email to");
        await PostAsync(visitor, "Pause", HttpStatusCode.OK, ("Reason", "a move"));
        (await visitor.ReadAsync(Page, Cancel)).ShouldContain("No account takes a step: a move");
        await PostAsync(visitor, "Resume", HttpStatusCode.OK);
        (await visitor.ReadAsync(Page, Cancel)).ShouldNotContain("a move");
    }

    static async Task<string> PostAsync(
        Visitor visitor, string handler, HttpStatusCode expected, params (string, string)[] fields)
    {
        var response = await visitor.PostAsync(Page, $"{Page}?handler={handler}", Cancel, fields);
        var page = Visitor.Plain(await response.Content.ReadAsStringAsync(Cancel));
        response.StatusCode.ShouldBe(expected, page);
        return page;
    }

    [Fact]
    public async Task The_owner_sees_on_every_page_how_long_the_money_lasts()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (await visitor.ReadAsync("/keys", Cancel)).ShouldNotContain("class=\"lasts");
        await Sample.FillVmsAsync(hub, Cancel);
        (await visitor.ReadAsync("/keys", Cancel)).ShouldContain("<small class=\"lasts\">3");
        await hub.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        var keys = await visitor.ReadAsync("/keys", Cancel);
        keys.ShouldContain("<small class=\"lasts low\">used up</small>");
        keys.ShouldContain("to keep your capsuls");
        await hub.Db.ExecuteAsync("INSERT INTO dunning (email, step, taken, told) VALUES (@email, 4, @now, 0)",
            new { email = Sample.Email, now = hub.Now }, Cancel);
        (await visitor.ReadAsync("/keys", Cancel)).ShouldContain("Your capsuls are stopped because");
        (await visitor.ReadAsync("/balance", Cancel)).ShouldContain("deleted with their disks in 10 days");
    }
}
