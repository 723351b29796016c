using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>One Chromium of the system for all browser tests; each test has its own contexts.</summary>
public sealed class Chromium : IAsyncLifetime
{
    /// <summary>What a busy machine may need for one step.</summary>
    public const int LimitMs = 120_000;

    IPlaywright? playwright;
    IBrowser? browser;

    public IBrowser Browser => browser!;

    /// <summary>With the limits of a busy machine.</summary>
    public async Task<IBrowserContext> NewContextAsync(BrowserNewContextOptions options)
    {
        var context = await Browser.NewContextAsync(options);
        context.SetDefaultTimeout(LimitMs);
        return context;
    }

    /// <summary>The source of axe-core.</summary>
    public string Axe { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        // axe-core is a resource in Deque's package for .NET; npm is not needed.
        using var source = new StreamReader(
            typeof(Deque.AxeCore.Commons.AxeRunOptions).Assembly.GetManifestResourceStream(
                "Deque.AxeCore.Commons.Resources.axe.min.js")!);
        Axe = await source.ReadToEndAsync();
        playwright = await Playwright.CreateAsync();
        Assertions.SetDefaultExpectTimeout(LimitMs);
        browser = await playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions
        {
            ExecutablePath = "/usr/bin/chromium",
            Timeout = LimitMs,
            Args =
            [
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync",
            ],
        });
    }

    public async ValueTask DisposeAsync()
    {
        if (browser is not null)
            await browser.DisposeAsync();
        playwright?.Dispose();
    }

    /// <summary>Writes screenshots of the pages if TEST_PICTURES is a folder.</summary>
    public static async Task PictureAsync(IPage page, string name)
    {
        if (Environment.GetEnvironmentVariable("TEST_PICTURES") is { Length: > 0 } folder)
            await page.ScreenshotAsync(
                new PageScreenshotOptions { Path = Path.Combine(folder, name + ".png"), FullPage = true });
    }
}
