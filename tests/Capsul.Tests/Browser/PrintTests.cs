using Capsul.Tests.Support;
using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>What is to be printed, as it is on paper: without navigation, forms and buttons.</summary>
public sealed class PrintTests(Chromium chromium) : IClassFixture<Chromium>
{
    /// <summary>A4 at 96 pixels an inch, without its margins.</summary>
    const int Width = 658, Height = 971;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Receipts_and_statements_are_printed_without_what_is_for_screens()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await Sample.FillLedgerAsync(hub, Cancel);
        await Sample.FillReceiptsAsync(hub, Cancel);
        await using var context = await chromium.NewContextAsync(new BrowserNewContextOptions
        {
            BaseURL = hub.Address.ToString(),
            ViewportSize = new ViewportSize { Width = Width, Height = Height },
        });
        var page = await context.NewPageAsync();
        await page.GotoAsync("/sign-in");
        await page.GetByLabel("Email address").FillAsync(Sample.Email);
        await page.GetByRole(AriaRole.Button, new() { Name = "Email me a link" }).ClickAsync();
        await page.GotoAsync(await hub.NewestLinkAsync(Sample.Email, Cancel));
        await page.EmulateMediaAsync(new PageEmulateMediaOptions { Media = Media.Print });
        foreach (var (name, path, says) in ((string, string, string)[])[
            ("receipt-printed", "/balance/receipts/1", "Meadow Co-op"),
            ("month-printed", "/balance/month?Of=2026-02", "Account ada.lovelace@example.org")])
        {
            await page.GotoAsync(path);
            await Chromium.PictureAsync(page, name);
            (await page.GetByText(says).First.IsVisibleAsync()).ShouldBeTrue(name);
            (await page.Locator("nav:visible, form:visible, button:visible, .button:visible, footer:visible")
                .CountAsync()).ShouldBe(0, name);
            (await page.EvaluateAsync<bool>("() => document.documentElement.scrollWidth > innerWidth"))
                .ShouldBeFalse($"{name} is wider than the paper");
        }
    }
}
