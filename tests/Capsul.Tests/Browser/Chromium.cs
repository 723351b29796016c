using System.Runtime.CompilerServices;
using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>One Chromium of the system for all browser tests; each test has contexts of its own.</summary>
public sealed class Chromium : IAsyncLifetime
{
    static readonly string Here = Path.GetDirectoryName(ThisFile())!;

    IPlaywright? playwright;
    IBrowser? browser;

    public IBrowser Browser => browser!;

    /// <summary>The source of axe-core.</summary>
    public string Axe { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        var file = Path.Combine(Here, "node_modules", "axe-core", "axe.min.js");
        Axe = File.Exists(file) ? await File.ReadAllTextAsync(file)
            : throw new FileNotFoundException("axe-core is not installed: run npm ci in tests/Capsul.Tests/Browser.", file);
        playwright = await Playwright.CreateAsync();
        browser = await playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions
        {
            ExecutablePath = "/usr/bin/chromium",
            Args =
            [
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync",
            ],
        });
    }

    public async ValueTask DisposeAsync()
    {
        if (browser is not null)
            await browser.DisposeAsync();
        playwright?.Dispose();
    }

    /// <summary>Writes pictures of the pages for people to look at, when CAPSUL_TEST_PICTURES names a folder.</summary>
    public static async Task PictureAsync(IPage page, string name)
    {
        if (Environment.GetEnvironmentVariable("CAPSUL_TEST_PICTURES") is { Length: > 0 } folder)
            await page.ScreenshotAsync(new PageScreenshotOptions { Path = Path.Combine(folder, name + ".png"), FullPage = true });
    }

    static string ThisFile([CallerFilePath] string path = "") => path;
}
