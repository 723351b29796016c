using Capsul.Tests.Features.Payments;
using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>The whole way of a payment in a real browser, over two sites, with and without scripts.</summary>
public sealed class PayingTests(Chromium chromium) : IClassFixture<Chromium>
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_person_pays_by_card_and_comes_back(bool scripts)
    {
        await using var world = await PaymentWorld.StartAsync();
        await using var context = await chromium.NewContextAsync(new BrowserNewContextOptions
        { BaseURL = world.Hub.Address.ToString(), JavaScriptEnabled = scripts });
        var page = await context.NewPageAsync();
        await page.GotoAsync("/sign-in");
        await page.GetByLabel("Email address").FillAsync(PaymentWorld.Email);
        await page.GetByRole(AriaRole.Button, new() { Name = "Email me a link" }).ClickAsync();
        await page.GotoAsync(await world.Hub.NewestLinkAsync(PaymentWorld.Email, Cancel));
        await page.GotoAsync("/balance/add");
        await page.GetByLabel("Amount").FillAsync("12.50");
        await page.GetByRole(AriaRole.Button, new() { Name = "Pay by card" }).ClickAsync();
        await Assertions.Expect(page.GetByText("We are asking the payment provider")).ToBeVisibleAsync();
        await world.LookAsync();
        // The page goes on by itself, to another site: nothing in our policy may stop it.
        await Assertions.Expect(page.GetByText("THIS IS PLAY MONEY")).ToBeVisibleAsync(new() { Timeout = 30_000 });
        await page.GetByRole(AriaRole.Button, new() { Name = "Pay with play money" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Payment of $12.50" }))
            .ToBeVisibleAsync(new() { Timeout = 30_000 });
        await world.LookAsync();
        await Assertions.Expect(page.GetByText("$12.50 of this payment is on your balance"))
            .ToBeVisibleAsync(new() { Timeout = 30_000 });
        await world.AgreesAsync();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_person_saves_a_card_and_comes_back(bool scripts)
    {
        await using var world = await PaymentWorld.StartAsync();
        await using var context = await chromium.NewContextAsync(new BrowserNewContextOptions
        { BaseURL = world.Hub.Address.ToString(), JavaScriptEnabled = scripts });
        var page = await context.NewPageAsync();
        await page.GotoAsync("/sign-in");
        await page.GetByLabel("Email address").FillAsync(PaymentWorld.Email);
        await page.GetByRole(AriaRole.Button, new() { Name = "Email me a link" }).ClickAsync();
        await page.GotoAsync(await world.Hub.NewestLinkAsync(PaymentWorld.Email, Cancel));
        await page.GotoAsync("/balance");
        await page.GetByRole(AriaRole.Link, new() { Name = "Automatic top-up" }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Save a card" }).ClickAsync();
        await world.LookAtCardsAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Save a card that works" })
            .ClickAsync(new() { Timeout = 30_000 });
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Automatic top-up" }))
            .ToBeVisibleAsync(new() { Timeout = 30_000 });
        await world.LookAtCardsAsync();
        await Assertions.Expect(page.GetByText("Visa that ends in 4242"))
            .ToBeVisibleAsync(new() { Timeout = 30_000 });
        await page.GetByLabel("When my balance falls below").FillAsync("7.50");
        await page.GetByRole(AriaRole.Button, new() { Name = "Turn on" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading,
            new() { Name = "Automatic top-up is on" })).ToBeVisibleAsync();
        await world.ChargeAsync();
        await page.GotoAsync("/balance");
        await Assertions.Expect(page.GetByText("Automatic top-up is on")).ToBeVisibleAsync();
        await world.AgreesAsync();
    }
}
