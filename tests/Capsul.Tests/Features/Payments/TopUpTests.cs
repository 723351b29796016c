using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Payments;

public sealed class TopUpTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("10", 1000)]
    [InlineData(" 7.50 ", 750)]
    [InlineData("1000", 100_000)]
    public void Accepts_dollars_with_cents(string text, int cents) =>
        TopUp.Decide(new TopUp.Facts(true), text).OrThrow().Dollars.ShouldBe(cents / 100m);

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("0")]
    [InlineData("0.99")]
    [InlineData("-5")]
    [InlineData("1000.01")]
    [InlineData("1.001")]
    [InlineData("1e3")]
    [InlineData("1,000")]
    [InlineData("99999999999999999999999999999999999999")]
    public void Refuses_unreasonable_amounts(string? text) =>
        TopUp.Decide(new TopUp.Facts(true), text).Problem!.Kind.ShouldBe(ProblemKind.Invalid);

    /// <summary>The one currency of an installation may be another.</summary>
    [Theory]
    [InlineData(0), InlineData(-1), InlineData(2_000_000)]
    public void A_refusal_does_not_speak_of_dollars(int amount) => (
        RecordCash.Decide(amount)!.Message + TopUp.Decide(new TopUp.Facts(true), $"{amount}").Problem!.Message)
        .ShouldNotContain("dollar", Case.Insensitive);

    [Fact]
    public async Task Play_money_is_on_the_balance_immediately_and_is_labeled()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        (await visitor.ReadAsync("/balance", Cancel)).ShouldContain("pretend");
        var page = (await visitor.PostAsync("/balance", Cancel, ("Dollars", "12.34")).ReadAsync(Cancel)).Page;
        page.ShouldContain("$12.34");
        page.ShouldContain("play money");
        (await hub.Db.FindAsync<string>("SELECT actor || ' ' || action FROM audit_lines", null, Cancel))
            .ShouldBe("ada@example.org record_payment");
    }

    [Fact]
    public async Task There_is_no_play_money_in_production()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        (await visitor.ReadAsync("/balance", Cancel)).ShouldNotContain("play money");
        var answer = await visitor.PostAsync("/keys", "/balance", Cancel, ("Dollars", "12")).ReadAsync(Cancel);
        answer.Status.ShouldBe(403);
        answer.Page.ShouldContain("no play money on this site");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM payments", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task An_invalid_amount_is_explained_beside_the_field()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        using var visitor = await hub.SignInAsync("ada@example.org", Cancel);
        var answer = await visitor.PostAsync("/balance", Cancel, ("Dollars", "ten")).ReadAsync(Cancel);
        answer.Status.ShouldBe(400);
        answer.Page.ShouldContain("such as 10 or 7.50");
        answer.Page.ShouldContain("value=\"ten\"");
    }
}
