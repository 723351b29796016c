using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Closings;

public sealed class ClosingPagesTests
{
    static readonly (string, string?) Operator = ("CAPSUL_OPERATOR_EMAIL", "ops@example.org");

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_person_closes_the_account_and_reopens_it()
    {
        await using var hub = await WebHub.StartAsync(Cancel, Operator);
        await Sample.FillAsync(hub, Cancel);
        using var other = await hub.SignInAsync(Sample.Email, Cancel);
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ada.PostAsync("/account/close", Cancel, ("Typed", "ada@example.org"), ("Money", "back"))
            .ReadAsync(Cancel)).Page.ShouldContain("Type the email address of the account exactly");
        (await ada.PostAsync("/account/close", Cancel, ("Typed", Sample.Email), ("Money", "fund")).ReadAsync(Cancel))
            .Page.ShouldContain("Your account is being closed.");
        (await other.ReadAsync("/balance", Cancel)).ShouldContain("Email me a link");
        using var again = await hub.SignInAsync(Sample.Email, Cancel);
        (await again.ReadAsync("/keys", Cancel)).ShouldContain("This account is being closed: after 4 Mar 2026");
        (await again.PostAsync("/account/close", "/account/close?handler=Reopen", Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("Your account stays open.");
        (await again.ReadAsync("/keys", Cancel)).ShouldNotContain("being closed");
    }

    [Fact]
    public async Task An_operator_closes_an_account_and_says_what_was_paid()
    {
        const string Page = "/operator/closings";
        await using var hub = await WebHub.StartAsync(Cancel, Operator);
        await Sample.FillAsync(hub, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        (await ops.PostAsync(Page, Page + "?handler=Close", Cancel, ("Email", Sample.Email)).ReadAsync(Cancel))
            .Page.ShouldContain("href=\"#Reason\"");
        (await ops.PostAsync(Page, Page + "?handler=Close", Cancel, ("Email", "ops@example.org"), ("Reason", "x"))
            .ReadAsync(Cancel)).Page.ShouldContain("only operator's account");
        (await ops.PostAsync(Page, Page + "?handler=Close", Cancel, ("Email", Sample.Email), ("Reason", "left town"))
            .ReadAsync(Cancel)).Page.ShouldContain("left town");
        (await ops.PostAsync(Page, Page + "?handler=Reopen", Cancel, ("Email", Sample.Email)).ReadAsync(Cancel))
            .Page.ShouldContain($"{Sample.Email} stays open.");
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO account_closings (email, actor, reason, asked, due, money, pay_to, settled, forget)
            VALUES (@email, 'ops', 'left', @now, @now, 'back', '', @now, @now);
            INSERT INTO account_payouts (closing, payment, amount, state, created) VALUES (2, 1, 12.5, 'open', @now)
            """, new { email = Sample.Email, now = hub.Now }, Cancel);
        (await ops.PostAsync(Page, Page + "?handler=Paid", Cancel, ("Id", "1"), ("By", "bank")).ReadAsync(Cancel))
            .Page.ShouldContain("href=\"#Reason-1\"");
        (await ops.PostAsync(Page, Page + "?handler=Paid", Cancel, ("Id", "1"), ("By", "bank"), ("Reason", "done"))
            .ReadAsync(Cancel)).Page.ShouldContain("$12.50 is paid.");
        (await hub.Db.ListAsync<decimal>(
            "SELECT dollars FROM payments WHERE NOT invalidated ORDER BY id", null, Cancel)).ShouldBe([20m, 12.5m]);
    }
}
