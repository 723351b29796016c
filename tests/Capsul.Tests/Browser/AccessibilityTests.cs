using System.Text.Json;
using Capsul.Tests.Support;
using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>Checks every page with axe-core, in light and dark mode, on a phone and on a desktop.</summary>
public sealed class AccessibilityTests(Chromium chromium) : IClassFixture<Chromium>
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Each page is loaded once, and looked at in all of these. 640 is 1280 at 200 %.</summary>
    static readonly (ColorScheme Scheme, int Width)[] Looks =
        [(ColorScheme.Light, 1280), (ColorScheme.Light, 640), (ColorScheme.Light, 320), (ColorScheme.Dark, 390),
            (ColorScheme.Dark, 1280)];

    [Fact, Trait(TestLimitAttribute.Minutes, "25")]
    public async Task No_page_has_a_serious_violation()
    {
        await using var hub = await WebHub.StartAsync(Cancel, [.. Sample.Dns, ("CAPSUL_ENVIRONMENT", "development"),
            ("CAPSUL_OPERATOR_EMAIL", Sample.Email), ("CAPSUL_STRIPE_SECRET_KEY", "sk_test_none"),
            ("CAPSUL_BANK_DETAILS", "Co-op Hosting, Example Bank, DE02 1203 0000 0000 2020 51")]);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await Sample.FillAlertsAsync(hub, Cancel);
        await Sample.FillLedgerAsync(hub, Cancel);
        await Sample.FillQueueAsync(hub, Cancel);
        await Sample.FillRescueAsync(hub, Cancel);
        await Sample.FillNamesAsync(hub, Cancel);
        await Sample.FillReceiptsAsync(hub, Cancel);
        await Sample.FillAccountsAsync(hub, Cancel);
        await using var context = await chromium.NewContextAsync(new BrowserNewContextOptions
        {
            BaseURL = hub.Address.ToString(),
            ReducedMotion = ReducedMotion.Reduce,
        });
        var page = await context.NewPageAsync();
        var found = new List<string>();
        page.Console += (_, message) =>
        {
            if (message.Type == "error" && !message.Text.Contains("status of 4", StringComparison.Ordinal))
                found.Add($"console of {page.Url}: {message.Text}");
        };
        foreach (var (name, path) in EveryPage.Public)
            await LookAsync(page, path, name, found);
        await SignInAsync(hub, page);
        foreach (var (name, path) in EveryPage.SignedIn.Concat(EveryPage.Operator))
            await LookAsync(page, path, name, found);
        foreach (var (name, path, button) in RefusedForms)
            await RefuseAsync(page, path, button, name, found);
        found.ShouldBeEmpty(string.Join('\n', hub.Log.Lines));
    }

    static readonly (string Name, string Path, string Button)[] RefusedForms =
        [("keys-refused", "/keys", "Add key"), ("balance-refused", "/balance", "Top up"),
            ("add-refused", "/balance/add", "Pay by card"), ("refund-refused", "/operator/payments/1", "Send back"),
            ("bank-refused", "/operator/bank", "Take in"), ("price-refused", "/operator/prices", "Announce"),
            ("size-refused", "/operator/sizes", "Add"), ("limits-refused", "/balance/limits", "Save"),
            ("seller-refused", "/operator/receipts", "Save"), ("close-refused", "/account/close", "Close the account"),
            ("give-refused", "/balance/give", "Give"), ("fund-refused", "/operator/fund", "Give"),
            ("voucher-refused", "/operator/vouchers", "Create"), ("redeem-refused", "/balance/add", "Redeem"),
            ("create-refused", "/vms/new", "Create capsul"), ("rename-refused", "/operator/hosts/host-1", "Rename")];

    /// <summary>Submits a form with invalid input, bypassing the browser's own validation.</summary>
    async Task RefuseAsync(IPage page, string path, string button, string name, List<string> found)
    {
        await page.GotoAsync(path);
        await page.EvaluateAsync("""
            () => {
              const fields = document.querySelectorAll("main input[type=text], main textarea");
              for (const e of fields) e.value = "No Such Thing";
              for (const f of document.forms) f.noValidate = true;
            }
            """);
        await page.GetByRole(AriaRole.Button, new() { Name = button, Exact = true }).ClickAsync();
        if (!(await page.TitleAsync()).StartsWith("Error: ", StringComparison.Ordinal))
            found.Add($"{name}: the title does not say that there is an error");
        if (await page.EvaluateAsync<string>("() => document.activeElement.getAttribute('role')") != "alert")
            found.Add($"{name}: the focus is not at the errors");
        foreach (var link in await page.Locator("[role=alert] a").AllAsync())
        {
            if (await page.Locator((await link.GetAttributeAsync("href"))!).CountAsync() != 1)
                found.Add($"{name}: a link of an error leads nowhere");
        }
        await CheckAsync(page, name, found);
    }

    static async Task SignInAsync(WebHub hub, IPage page)
    {
        await page.GotoAsync("/sign-in");
        await page.GetByLabel("Email address").FillAsync(Sample.Email);
        await page.GetByRole(AriaRole.Button, new() { Name = "Email me a link" }).ClickAsync();
        await page.GotoAsync(await hub.NewestLinkAsync(Sample.Email, Cancel));
    }

    async Task LookAsync(IPage page, string path, string name, List<string> found)
    {
        var answer = await page.GotoAsync(path);
        if (answer!.Status != EveryPage.StatusOf(path))
            found.Add($"{name}: status {answer.Status}");
        await CheckAsync(page, name, found);
    }

    async Task CheckAsync(IPage page, string name, List<string> found)
    {
        await page.EvaluateAsync(chromium.Axe);
        foreach (var (scheme, width) in Looks)
        {
            await page.SetViewportSizeAsync(width, 844);
            await page.EmulateMediaAsync(new() { ColorScheme = scheme });
            await CheckLookAsync(page, $"{name}-{width}-{scheme}", found);
        }
    }

    static async Task CheckLookAsync(IPage page, string name, List<string> found)
    {
        await Chromium.PictureAsync(page, name);
        var json = await page.EvaluateAsync<string>(
            "async () => JSON.stringify((await axe.run({ resultTypes: ['violations'] })).violations)");
        using var violations = JsonDocument.Parse(json);
        foreach (var violation in violations.RootElement.EnumerateArray())
        {
            if (violation.GetProperty("impact").GetString() is not null)
                found.Add($"{name}: {violation.GetProperty("id")}: "
                    + $"{violation.GetProperty("nodes")[0].GetProperty("html")} "
                    + $"{violation.GetProperty("nodes")[0].GetProperty("failureSummary")}");
        }
        if (await page.EvaluateAsync<bool>(
            "() => document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"))
            found.Add($"{name}: the page scrolls sideways");
    }
}
