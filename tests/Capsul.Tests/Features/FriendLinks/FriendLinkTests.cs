using Capsul.Foundation;
using Capsul.Hub.Features.FriendLinks;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Tests.Features.Payments;
using Capsul.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Capsul.Tests.Features.FriendLinks;

/// <summary>Links by which others pay, with a provider of play money.</summary>
public sealed class FriendLinkTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>The path of a new link.</summary>
    static async Task<string> MakeAsync(PaymentWorld world, string name = "Ada's server")
    {
        await world.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@email) ON CONFLICT DO NOTHING",
            new { email = PaymentWorld.Email }, Cancel);
        var link = (await MakeFriendLink.RunAsync(world.Db, world.Hub.Address, PaymentWorld.Email, PaymentWorld.Email,
            name, world.Hub.Time, Cancel)).OrThrow();
        return new Uri(link).AbsolutePath;
    }

    static Task<Outcome<string>> PayAsync(PaymentWorld world, string path, string amount = "20") =>
        PayForFriend.RunAsync(world.Db, world.Hub.Services.GetRequiredService<PaymentProviders>(), world.Settings,
            world.Hub.Services.GetRequiredService<Site>(), world.Hub.Services.GetRequiredService<ReturnSeal>(),
            path["/give/".Length..], "stripe", amount, world.Hub.Time, Cancel);

    [Theory]
    [InlineData("  Jo’s \n server ", 0, null), InlineData("", 0, "Name"), InlineData(" ", 0, "Name")]
    [InlineData("12345678901234567890123456789012345678901", 0, "Name"), InlineData("Jo", 5, "")]
    public void A_name_is_checked_and_links_are_limited(string name, int live, string? field)
    {
        var outcome = MakeFriendLink.Decide(true, live, name);
        if (field is null) outcome.OrThrow().ShouldBe("Jo’s server");
        else (outcome.Problem!.Field ?? "").ShouldBe(field);
    }

    [Fact]
    public async Task A_friend_pays_without_an_account_and_the_member_is_credited_once()
    {
        await using var world = await PaymentWorld.StartAsync();
        var path = await MakeAsync(world);
        using var friend = world.Hub.Visit();
        var page = await friend.ReadAsync(path, Cancel);
        page.ShouldContain("Top up Ada's server");
        page.ShouldNotContain(PaymentWorld.Email);
        (await friend.PostAsync(path, Cancel, ("Amount", "1"), ("Provider", "stripe")).ReadAsync(Cancel)).Page
            .ShouldContain("Enter an amount from");
        var begun = (await friend.PostAsync(path, Cancel, ("Amount", "20"), ("Provider", "stripe"))
            .ReadAsync(Cancel)).Page;
        begun.ShouldContain("You will be there in a moment");
        begun.ShouldNotContain(PaymentWorld.Email);
        await world.LookAsync();
        var session = world.Stripe.Books.Sessions.Single();
        session.Email.ShouldBeEmpty("the provider is not told whose account it is");
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        await world.SettleAsync();
        (await world.BalanceAsync()).ShouldBe(20);
        var back = await friend.ReadAsync(new Uri(session.SuccessUrl).PathAndQuery, Cancel);
        back.ShouldContain("The payment has arrived");
        back.ShouldNotContain(PaymentWorld.Email);
        await RefundAsync("5");
        (await friend.ReadAsync(new Uri(session.SuccessUrl).PathAndQuery, Cancel)).ShouldContain(
            "Thank you! The payment has arrived. $5.00 of it was sent");
        await RefundAsync(null);
        back = await friend.ReadAsync(new Uri(session.SuccessUrl).PathAndQuery, Cancel);
        back.ShouldContain("This payment was sent back to you.");
        back.ShouldNotContain("Thank you");
        using var eve = world.Hub.Visit();
        (await eve.GetAsync("/give/payments/wrong", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);

        async Task RefundAsync(string? amount)
        {
            (await RefundPayment.RunAsync(world.Db, world.Settings, PaymentWorld.Operator, 1, amount, "asked",
                world.Hub.Time, Cancel)).OrThrow();
            await world.SettleAsync();
        }
    }

    [Fact]
    public async Task The_secret_is_in_no_row()
    {
        await using var world = await PaymentWorld.StartAsync();
        var path = await MakeAsync(world);
        var secret = path["/give/".Length..];
        (await world.Db.AskAsync<long>("SELECT count(*) FROM friend_links f WHERE f::text LIKE '%' || @secret || '%'",
            new { secret }, Cancel)).ShouldBe(0);
        (await world.Db.AskAsync<long>("SELECT count(*) FROM audit_lines f WHERE f::text LIKE '%' || @secret || '%'",
            new { secret }, Cancel)).ShouldBe(0);
    }

    /// <summary>Whoever has a dump cannot open the page of a payment, which leads to its refunds.</summary>
    [Fact]
    public async Task Where_a_friend_comes_back_to_is_in_no_row_in_the_clear()
    {
        await using var world = await PaymentWorld.StartAsync();
        var path = await MakeAsync(world);
        var token = (await PayAsync(world, path)).OrThrow();
        var lost = (await PayAsync(world, path)).OrThrow();
        Task<long> CountAsync(string text) => world.Db.AskAsync<long>(
            "SELECT count(*) FROM provider_payments p WHERE p::text LIKE '%' || @text || '%'", new { text }, Cancel);
        (await CountAsync("sealed:")).ShouldBe(2);
        (await CountAsync(token)).ShouldBe(0);
        await world.Db.ExecuteAsync("UPDATE provider_payments SET return_to = 'sealed:of another key' WHERE id = 2",
            null, Cancel);
        await world.LookAsync();
        var urls = world.Stripe.Books.Sessions.Select(s => new Uri(s.SuccessUrl).PathAndQuery);
        urls.ShouldBe([$"/give/payments/{token}?returned=1", "/?returned=1"], ignoreOrder: true);
        (await CountAsync("sealed:") + await CountAsync(token) + await CountAsync(lost)).ShouldBe(0);
        (await Should.ThrowAsync<PostgresException>(() => world.Db.ExecuteAsync(
            "UPDATE provider_payments SET return_to = 'x'", null, Cancel)))
            .ConstraintName.ShouldBe("provider_payments_friend_comes_back_once");
    }

    [Fact]
    public async Task Revoked_links_and_those_of_closing_accounts_lead_nowhere()
    {
        await using var world = await PaymentWorld.StartAsync();
        var path = await MakeAsync(world);
        (await MakeFriendLink.RevokeAsync(world.Db, "eve", "eve@example.org", 1, world.Hub.Time, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
        (await MakeFriendLink.RevokeAsync(world.Db, "me", PaymentWorld.Email, 1, world.Hub.Time, Cancel)).OrThrow();
        (await PayAsync(world, path)).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        using var friend = world.Hub.Visit();
        (await friend.GetAsync(path, Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        path = await MakeAsync(world);
        await world.Db.ExecuteAsync(
            """
            INSERT INTO account_closings (email, actor, reason, asked, due, money, pay_to)
            VALUES (@email, 'x', '', @now, @now, 'back', '')
            """, new { email = PaymentWorld.Email, now = world.Hub.Now }, Cancel);
        (await PayAsync(world, path)).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        (await friend.GetAsync(path, Cancel).ReadAsync(Cancel)).Page.ShouldNotContain("closed");
    }

    [Fact]
    public async Task Nobody_begins_payments_without_end_and_the_member_still_can()
    {
        await using var world = await PaymentWorld.StartAsync();
        var path = await MakeAsync(world);
        for (var n = 0; n < AddMoney.MaxOpen; n++) (await PayAsync(world, path)).OrThrow();
        (await PayAsync(world, path)).Problem!.Kind.ShouldBe(ProblemKind.RateLimited);
        (await world.TryBeginAsync("20")).OrThrow();
        world.Advance(TimeSpan.FromHours(2));
        (await PayAsync(world, path)).OrThrow();
    }

    [Fact]
    public async Task A_member_makes_links_and_revokes_them_on_the_page()
    {
        await using var world = await PaymentWorld.StartAsync();
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        var page = (await ada.PostAsync("/balance/friends", Cancel, ("Name", "Ada")).ReadAsync(Cancel)).Page;
        page.ShouldContain("/give/");
        (await ada.ReadAsync("/balance/friends", Cancel)).ShouldNotContain("/give/");
        (await ada.PostAsync("/balance/friends", Cancel, ("Name", "")).ReadAsync(Cancel)).Page
            .ShouldContain("href=\"#Name\"");
        using var eve = await world.Hub.SignInAsync("eve@example.org", Cancel);
        (await eve.PostAsync("/balance/friends", "/balance/friends?handler=Revoke", Cancel, ("Id", "1"))
            .ReadAsync(Cancel)).Status.ShouldBe(404);
        (await ada.PostAsync("/balance/friends", "/balance/friends?handler=Revoke", Cancel, ("Id", "1"))
            .ReadAsync(Cancel)).Page.ShouldContain("revoked 1 Mar 2026");
    }
}
