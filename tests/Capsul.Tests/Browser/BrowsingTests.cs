using Capsul.Tests.Support;
using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>
/// What a person does, in a real browser. Elements are found by role and label, as with a screen reader.
/// </summary>
public sealed class BrowsingTests(Chromium chromium) : IClassFixture<Chromium>
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task From_the_home_page_to_a_new_capsul_with_and_without_scripts(bool scripts)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        await using var context = await ContextAsync(hub, scripts);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/");
        await page.GetByRole(AriaRole.Link, new() { Name = "Create capsul" }).ClickAsync();
        await page.GetByLabel("Email address").FillAsync("grace@example.org");
        await page.GetByRole(AriaRole.Button, new() { Name = "Email me a link" }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "the email page" }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "/sign-in/" }).ClickAsync();

        await page.GetByLabel("f1-s ").CheckAsync();
        await page.GetByLabel("Public SSH key").FillAsync(Sample.Ed25519("grace@cobol"));
        await Assertions.Expect(page.GetByLabel("Add play money")).ToHaveValueAsync("10");
        await page.GetByLabel("Name (optional)").FillAsync("cobol");
        if (scripts) await Assertions.Expect(page.GetByText("Total $7.50/month · $0.0103/hour")).ToBeVisibleAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Create capsul" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "cobol" })).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByText("creating", new() { Exact = true })).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Status).Filter(new() { HasText = "being created" }))
            .ToBeFocusedAsync();

        await page.GetByRole(AriaRole.Button, new() { Name = "Cancel" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Cancelling" })).ToBeVisibleAsync();
        await page.GetByRole(AriaRole.Navigation, new() { Name = "Main" })
            .GetByRole(AriaRole.Link, new() { Name = "Balance" }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Top up" }).ClickAsync();
        await Assertions.Expect(page.Locator(".figure")).ToHaveTextAsync("$20.00");
        await Assertions.Expect(page.GetByText("$10.00 of play money added.")).ToBeFocusedAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Sign out" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Link, new() { Name = "Sign in" })).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByText("You are signed out.")).ToBeVisibleAsync();
    }

    [Fact]
    public async Task The_page_updates_without_a_reload()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/vms/capsul-creating00");
        await Assertions.Expect(page.GetByText("creating", new() { Exact = true })).ToBeVisibleAsync();
        await page.EvaluateAsync("() => { window.stayed = true; }");
        await hub.Db.ExecuteAsync(
            """
            UPDATE operations SET status = 'done', finished = @now WHERE vm = 'capsul-creating00';
            UPDATE vms SET state = 'running', phase = 6 WHERE id = 'capsul-creating00'
            """, new { now = hub.Now }, Cancel);
        await Assertions.Expect(page.GetByText("running", new() { Exact = true }).First).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByText("ssh -p 22001 debian@127.0.0.1")).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Copy the SSH command" }))
            .ToBeVisibleAsync();
        await Assertions.Expect(page.Locator("#live-word")).ToContainTextAsync("running");
        (await page.EvaluateAsync<bool>("() => window.stayed === true")).ShouldBeTrue();
    }

    [Fact]
    public async Task A_button_copies_the_ssh_command()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await SignedInAsync(hub);
        await context.GrantPermissionsAsync(["clipboard-read", "clipboard-write"]);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/vms/capsul-running000");
        await page.GetByRole(AriaRole.Button, new() { Name = "Copy the SSH command" }).ClickAsync();
        await Assertions.Expect(page.GetByText("Copied").First).ToBeVisibleAsync();
        (await page.EvaluateAsync<string>("() => navigator.clipboard.readText()"))
            .ShouldBe("ssh -p 22001 debian@127.0.0.1");
    }

    [Fact]
    public async Task On_every_page_the_keyboard_reaches_everything_and_the_focus_is_seen()
    {
        await using var hub = await WebHub.StartAsync(Cancel, [.. Sample.Dns, ("CAPSUL_ENVIRONMENT", "development"),
            ("CAPSUL_OPERATOR_EMAIL", Sample.Email)]);
        await using var context = await SignedInAsync(hub);
        await Sample.FillAlertsAsync(hub, Cancel);
        await Sample.FillQueueAsync(hub, Cancel);
        await Sample.FillAccountsAsync(hub, Cancel);
        await Sample.FillRescueAsync(hub, Cancel);
        await Sample.FillNamesAsync(hub, Cancel);
        var page = await context.NewPageAsync();
        var wrong = new List<string>();
        foreach (var (name, path) in EveryPage.SignedIn.Concat(EveryPage.Operator))
            await TabThroughAsync(page, name, path, wrong);
        await context.ClearCookiesAsync();
        foreach (var (name, path) in EveryPage.Public) await TabThroughAsync(page, name, path, wrong);
        wrong.ShouldBeEmpty();
    }

    static async Task TabThroughAsync(IPage page, string name, string path, List<string> wrong)
    {
        await page.GotoAsync(path);
        // Tab reaches one radio button of a group; the arrow keys reach the others.
        var wanted = await page.EvaluateAsync<int>("""
            () => {
              const all = [...document.querySelectorAll(
                "a[href], button:enabled, input:not([type=hidden]), textarea, select, summary")]
                .filter(e => e.checkVisibility());
              window.wanted = all.filter(e => e.type !== "radio" || e.checked);
              return window.wanted.length;
            }
            """);
        if (wanted < 3) wrong.Add($"{name}: only {wanted} things can be used");
        for (var i = 0; i < wanted * 2 + 10; i++)
        {
            await page.Keyboard.PressAsync("Tab");
            var invisible = await page.EvaluateAsync<string?>("""
                () => {
                  const e = document.activeElement;
                  if (e === document.body) return null;
                  window.wanted = window.wanted.filter(w => w !== e);
                  const seen = s => s && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2;
                  const label = e.closest("label.option");
                  return seen(getComputedStyle(e)) || (label && seen(getComputedStyle(label)))
                    ? null : e.outerHTML.slice(0, 120);
                }
                """);
            if (invisible is not null) wrong.Add($"{name}: the focus is not seen on {invisible}");
        }
        var missed = await page.EvaluateAsync<string[]>("() => window.wanted.map(e => e.outerHTML.slice(0, 120))");
        wrong.AddRange(missed.Select(e => $"{name}: Tab does not reach {e}"));
    }

    [Fact]
    public async Task Every_page_works_without_scripts()
    {
        await using var hub = await WebHub.StartAsync(
            Cancel, [.. Sample.Dns, ("CAPSUL_ENVIRONMENT", "development")]);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await Sample.FillQueueAsync(hub, Cancel);
        await Sample.FillAccountsAsync(hub, Cancel);
        await Sample.FillRescueAsync(hub, Cancel);
        await Sample.FillNamesAsync(hub, Cancel);
        await using var context = await ContextAsync(hub, scripts: false);
        var page = await context.NewPageAsync();
        var (wrong, controls) = (new List<string>(), 0);
        foreach (var (name, path) in EveryPage.Public)
            controls += await LookWithoutScriptsAsync(page, name, path, wrong);
        await page.GotoAsync("/sign-in");
        await page.GetByLabel("Email address").FillAsync(Sample.Email);
        await page.GetByRole(AriaRole.Button, new() { Name = "Email me a link" }).ClickAsync();
        await page.GotoAsync(await hub.NewestLinkAsync(Sample.Email, Cancel));
        foreach (var (name, path) in EveryPage.SignedIn)
            controls += await LookWithoutScriptsAsync(page, name, path, wrong);
        wrong.ShouldBeEmpty();
        controls.ShouldBeGreaterThan(50, "the test must have found the buttons and fields");
    }

    /// <summary>
    /// It has a heading, and no control that does nothing without a script. Returns how many controls there are.
    /// </summary>
    static async Task<int> LookWithoutScriptsAsync(IPage page, string name, string path, List<string> wrong)
    {
        var answer = await page.GotoAsync(path);
        if (answer!.Status != EveryPage.StatusOf(path)) wrong.Add($"{name}: status {answer.Status}");
        var idle = await page.EvaluateAsync<string[]>("""
            () => [...document.querySelectorAll("button, input, select, textarea")]
              .filter(e => e.checkVisibility() && !(e.form && e.form.action
                && e.form.querySelector("button:not([type=button]), input[type=submit]") && e.type !== "button"))
              .map(e => e.outerHTML.slice(0, 120))
            """);
        wrong.AddRange(idle.Select(e => $"{name}: does nothing without scripts: {e}"));
        if (await page.Locator("h1").CountAsync() != 1) wrong.Add($"{name}: no heading");
        return await page.Locator("button:visible, input:visible").CountAsync();
    }

    [Fact]
    public async Task The_first_tab_stop_skips_the_navigation()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await ContextAsync(hub, scripts: true);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/support");
        await page.Keyboard.PressAsync("Tab");
        await page.Keyboard.PressAsync("Enter");
        (await page.EvaluateAsync<string>("() => document.activeElement.id")).ShouldBe("content");
    }

    [Fact]
    public async Task The_focus_survives_updates_of_the_page()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/vms/capsul-running000");
        // Unchanged elements stay: the copy button is not recreated.
        await page.GetByRole(AriaRole.Button, new() { Name = "Copy the SSH command" }).FocusAsync();
        await SetAsync(hub, "state = 'stopping'");
        await Assertions.Expect(page.Locator(".state")).ToHaveTextAsync("stopping");
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Copy the SSH command" }))
            .ToBeFocusedAsync();
        // When an element disappears, the focus moves to the heading.
        await SetAsync(hub, "state = 'running'");
        await page.GetByRole(AriaRole.Button, new() { Name = "Stop", Exact = true }).FocusAsync();
        await SetAsync(hub, "state = 'stopping'");
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "engine" })).ToBeFocusedAsync();
    }

    static Task SetAsync(WebHub hub, string change) =>
        hub.Db.ExecuteAsync($"UPDATE vms SET {change} WHERE id = 'capsul-running000'", null, Cancel);

    [Theory]
    [InlineData("/console")]
    [InlineData("/vms/capsul-running000")]
    public async Task A_page_whose_session_has_ended_redirects_to_the_sign_in(string path)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.GotoAsync(path);
        await hub.Db.ExecuteAsync("DELETE FROM sessions", null, Cancel);
        await SetAsync(hub, "problem = 'x'"); // The stream ends; the next one is refused.
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Sign in" }))
            .ToBeVisibleAsync();
        page.Url.ShouldContain(Uri.EscapeDataString(path));
    }

    [Fact]
    public async Task A_button_can_be_pressed_again_after_a_slow_response_was_stopped()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        var posts = 0;
        using var first = new SemaphoreSlim(0);
        using var end = new SemaphoreSlim(0);
        await context.RouteAsync("**/keys", async route =>
        {
            if (route.Request.Method != "POST") { await route.ContinueAsync(); return; }
            if (Interlocked.Increment(ref posts) > 1) { await route.ContinueAsync(); return; }
            first.Release();
            await end.WaitAsync(TimeSpan.FromMinutes(2)); // No response, like a Hub that hangs.
        });
        await page.GotoAsync("/keys");
        await page.GetByLabel("Public key").FillAsync(Sample.Ed25519("late@night"));
        // Not Playwright's click, which waits for the response.
        await page.EvaluateAsync("() => { document.querySelector('main form button').click(); "
            + "document.querySelector('main form button').click(); }");
        (await first.WaitAsync(TimeSpan.FromMinutes(1), Cancel)).ShouldBeTrue("the form is sent");
        var browser = await context.NewCDPSessionAsync(page);
        await browser.SendAsync("Page.stopLoading");
        await page.GetByRole(AriaRole.Button, new() { Name = "Add key" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.List, new() { Name = "Your keys" }))
            .ToContainTextAsync("late@night");
        posts.ShouldBe(2);
        end.Release();
    }

    [Theory]
    [InlineData("/balance")]
    [InlineData("/vms/capsul-running000")]
    public async Task A_print_is_black_on_white_with_the_account_and_without_forms(string path)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.EmulateMediaAsync(new() { Media = Media.Print, ColorScheme = ColorScheme.Dark });
        await page.GotoAsync(path);
        await Chromium.PictureAsync(page, "print" + path.Replace('/', '-'));
        (await page.EvaluateAsync<string>(
            "() => getComputedStyle(document.body).color + getComputedStyle(document.body).backgroundColor"))
            .ShouldBe("rgb(0, 0, 0)rgb(255, 255, 255)");
        (await page.Locator("form, .button")
            .EvaluateAllAsync<int>("all => all.filter(e => e.checkVisibility()).length")).ShouldBe(0);
        if (path == "/balance")
            await Assertions.Expect(page.GetByText($"Account {Sample.Email}, as of ")).ToBeVisibleAsync();
    }

    [Fact]
    public async Task On_a_small_phone_the_page_header_is_small()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.SetViewportSizeAsync(320, 640);
        await page.GotoAsync("/console");
        (await page.EvaluateAsync<double>("() => document.querySelector('header').getBoundingClientRect().height"))
            .ShouldBeLessThan(100);
    }

    [Fact]
    public async Task Everything_is_aligned_on_one_left_edge()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.SetViewportSizeAsync(1600, 900);
        var edges = new HashSet<double>();
        foreach (var path in (string[])["/", "/console", "/keys", "/balance", "/vms/new",
            "/vms/capsul-running000", "/about-ssh", "/support", "/sign-out", "/nowhere"])
        {
            await page.GotoAsync(path);
            edges.Add(await page.EvaluateAsync<double>(
                "() => Math.round(document.querySelector('main h1').getBoundingClientRect().left)"));
            edges.Add(await page.EvaluateAsync<double>(
                "() => Math.round(document.querySelector('footer p').getBoundingClientRect().left)"));
        }
        edges.Count.ShouldBe(1, string.Join(' ', edges));
    }

    Task<IBrowserContext> ContextAsync(WebHub hub, bool scripts) =>
        chromium.NewContextAsync(
            new BrowserNewContextOptions { BaseURL = hub.Address.ToString(), JavaScriptEnabled = scripts });

    async Task<IBrowserContext> SignedInAsync(WebHub hub)
    {
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var context = await ContextAsync(hub, scripts: true);
        await context.AddCookiesAsync(visitor.Cookies.GetAllCookies().Select(c => new Cookie
        {
            Name = c.Name,
            Value = c.Value,
            Domain = c.Domain,
            Path = c.Path,
        }));
        return context;
    }
}
