using System.Text.Json;
using Capsul.Tests.Support;
using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>Every page, looked at by axe-core in light and dark, on a phone and on a desk.</summary>
public sealed class AccessibilityTests(Chromium chromium) : IClassFixture<Chromium>
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly (string Name, string Path)[] PublicPages =
    [
        ("home", "/"), ("about-ssh", "/about-ssh"), ("support", "/support"), ("sign-in", "/sign-in"), ("sent", "/sign-in/sent"),
        ("bad-link", "/sign-in/unknown"), ("not-found", "/nowhere"),
    ];

    static readonly (string Name, string Path)[] SignedInPages =
    [
        ("home-signed-in", "/"), ("keys", "/keys"), ("remove-key", "/keys/1/remove"), ("balance", "/balance"), ("sign-out", "/sign-out"), ("mails", "/development/mails"),
        ("console", "/console"), ("new-vm", "/vms/new"), ("running-vm", "/vms/capsul-running000"), ("stopped-vm", "/vms/capsul-stopped000"),
        ("creating-vm", "/vms/capsul-creating00"), ("failed-vm", "/vms/capsul-failed0000"), ("silent-vm", "/vms/capsul-silent0000"),
        ("delete-vm", "/vms/capsul-running000/delete"), ("conflict", "/vms/capsul-creating00/delete"),
    ];

    static readonly Dictionary<string, int> Refused = new(StringComparer.Ordinal)
    {
        ["/sign-in/unknown"] = 404,
        ["/nowhere"] = 404,
        ["/vms/capsul-creating00/delete"] = 409,
    };

    [Theory]
    [InlineData(ColorScheme.Light, 390)]
    [InlineData(ColorScheme.Light, 1280)]
    [InlineData(ColorScheme.Dark, 390)]
    [InlineData(ColorScheme.Dark, 1280)]
    public async Task No_page_has_a_serious_violation(ColorScheme scheme, int width)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await using var context = await chromium.Browser.NewContextAsync(new BrowserNewContextOptions
        {
            BaseURL = hub.Address.ToString(),
            ColorScheme = scheme,
            ViewportSize = new ViewportSize { Width = width, Height = 844 },
            ReducedMotion = ReducedMotion.Reduce,
        });
        var page = await context.NewPageAsync();
        var found = new List<string>();
        page.Console += (_, message) =>
        {
            if (message.Type == "error" && !message.Text.Contains("status of 4", StringComparison.Ordinal))
                found.Add($"console of {page.Url}: {message.Text}");
        };
        foreach (var (name, path) in PublicPages)
            await LookAsync(page, path, $"{name}-{width}-{scheme}", found);
        await SignInAsync(hub, page);
        foreach (var (name, path) in SignedInPages)
            await LookAsync(page, path, $"{name}-{width}-{scheme}", found);
        found.ShouldBeEmpty();
    }

    static async Task SignInAsync(WebHub hub, IPage page)
    {
        await page.GotoAsync("/sign-in");
        await page.GetByLabel("E-mail address").FillAsync(Sample.Email);
        await page.GetByRole(AriaRole.Button, new() { Name = "Mail me a link" }).ClickAsync();
        await page.GotoAsync(await hub.NewestLinkAsync(Sample.Email, Cancel));
    }

    async Task LookAsync(IPage page, string path, string name, List<string> found)
    {
        var answer = await page.GotoAsync(path);
        if (answer!.Status != (Refused.TryGetValue(path, out var status) ? status : 200))
            found.Add($"{name}: status {answer.Status}");
        await Chromium.PictureAsync(page, name);
        await page.EvaluateAsync(chromium.Axe);
        var json = await page.EvaluateAsync<string>("async () => JSON.stringify((await axe.run()).violations)");
        using var violations = JsonDocument.Parse(json);
        foreach (var violation in violations.RootElement.EnumerateArray())
        {
            if (violation.GetProperty("impact").GetString() is "serious" or "critical" or "moderate")
                found.Add($"{name}: {violation.GetProperty("id")}: {violation.GetProperty("nodes")[0].GetProperty("html")} {violation.GetProperty("nodes")[0].GetProperty("failureSummary")}");
        }
        if (await page.EvaluateAsync<bool>("() => document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"))
            found.Add($"{name}: the page scrolls sideways");
    }
}
