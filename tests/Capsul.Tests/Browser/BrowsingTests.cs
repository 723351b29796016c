using Capsul.Tests.Support;
using Microsoft.Playwright;

namespace Capsul.Tests.Browser;

/// <summary>What a person does, in a real browser. Things are found by role and label, as a screen reader finds them.</summary>
public sealed class BrowsingTests(Chromium chromium) : IClassFixture<Chromium>
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task From_the_first_page_to_a_capsul_being_made_with_and_without_scripts(bool scripts)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        await using var context = await ContextAsync(hub, scripts);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/");
        await page.GetByRole(AriaRole.Link, new() { Name = "Make a capsul" }).ClickAsync();
        await page.GetByLabel("E-mail address").FillAsync("grace@example.org");
        await page.GetByRole(AriaRole.Button, new() { Name = "Mail me a link" }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "the page of mails" }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "/sign-in/" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Your capsuls" })).ToBeVisibleAsync();

        await page.GetByRole(AriaRole.Link, new() { Name = "Add a key" }).ClickAsync();
        await page.GetByLabel("Public key").FillAsync(Sample.Ed25519("grace@cobol"));
        await page.GetByRole(AriaRole.Button, new() { Name = "Add the key" }).ClickAsync();
        await Assertions.Expect(page.GetByText("grace@cobol")).ToBeVisibleAsync();

        await page.GetByRole(AriaRole.Link, new() { Name = "Balance", Exact = true }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Top up" }).ClickAsync();
        await Assertions.Expect(page.Locator(".figure")).ToHaveTextAsync("$10.00");

        await page.GetByRole(AriaRole.Link, new() { Name = "Capsuls", Exact = true }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "New capsul" }).ClickAsync();
        await page.GetByLabel("f1-s ").CheckAsync();
        await page.GetByLabel("Name (optional)").FillAsync("cobol");
        await page.GetByRole(AriaRole.Button, new() { Name = "Make the capsul" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "cobol" })).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByText("being made", new() { Exact = true })).ToBeVisibleAsync();

        await page.GetByRole(AriaRole.Button, new() { Name = "Cancel" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "It is being cancelled" })).ToBeVisibleAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Sign out" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Link, new() { Name = "Sign in" })).ToBeVisibleAsync();
    }

    [Fact]
    public async Task The_page_follows_what_happens_without_being_loaded_again()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/vms/capsul-creating00");
        await Assertions.Expect(page.GetByText("being made", new() { Exact = true })).ToBeVisibleAsync();
        await page.EvaluateAsync("() => { window.stayed = true; }");
        await hub.Db.ExecuteAsync(
            """
            UPDATE operations SET status = 'done', finished = @now WHERE vm = 'capsul-creating00';
            UPDATE vms SET state = 'running', phase = 6 WHERE id = 'capsul-creating00'
            """, new { now = hub.Now }, Cancel);
        await Assertions.Expect(page.GetByText("running", new() { Exact = true }).First).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByText("ssh -p 22001 debian@127.0.0.1")).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Copy the ssh command" })).ToBeVisibleAsync();
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
        await page.GetByRole(AriaRole.Button, new() { Name = "Copy the ssh command" }).ClickAsync();
        await Assertions.Expect(page.GetByText("Copied").First).ToBeVisibleAsync();
        (await page.EvaluateAsync<string>("() => navigator.clipboard.readText()")).ShouldBe("ssh -p 22001 debian@127.0.0.1");
    }

    [Theory]
    [InlineData("/")]
    [InlineData("/keys")]
    [InlineData("/vms/new")]
    [InlineData("/vms/capsul-running000")]
    [InlineData("/balance")]
    public async Task The_keyboard_reaches_everything_and_the_focus_is_seen(string path)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await using var context = await SignedInAsync(hub);
        var page = await context.NewPageAsync();
        await page.GotoAsync(path);
        // Of radio buttons of one name, Tab goes to one; the arrow keys to the others.
        var wanted = await page.EvaluateAsync<int>("""
            () => {
              const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), textarea, summary")].filter(e => e.checkVisibility());
              window.wanted = all.filter(e => e.type !== "radio" || e.checked);
              return window.wanted.length;
            }
            """);
        wanted.ShouldBeGreaterThan(5);
        var unseen = new List<string>();
        for (var i = 0; i < wanted * 2 + 10; i++)
        {
            await page.Keyboard.PressAsync("Tab");
            var invisible = await page.EvaluateAsync<string?>("""
                () => {
                  const e = document.activeElement;
                  if (e === document.body) return null;
                  window.wanted = window.wanted.filter(w => w !== e);
                  const seen = s => s && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2;
                  const label = e.closest("label.choice");
                  return seen(getComputedStyle(e)) || (label && seen(getComputedStyle(label))) ? null : e.outerHTML.slice(0, 120);
                }
                """);
            if (invisible is not null)
                unseen.Add(invisible);
        }
        unseen.ShouldBeEmpty();
        (await page.EvaluateAsync<string[]>("() => window.wanted.map(e => e.outerHTML.slice(0, 120))")).ShouldBeEmpty();
    }

    [Fact]
    public async Task The_first_tab_leads_past_the_navigation()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await using var context = await ContextAsync(hub, scripts: true);
        var page = await context.NewPageAsync();
        await page.GotoAsync("/support");
        await page.Keyboard.PressAsync("Tab");
        await page.Keyboard.PressAsync("Enter");
        (await page.EvaluateAsync<string>("() => document.activeElement.id")).ShouldBe("content");
    }

    Task<IBrowserContext> ContextAsync(WebHub hub, bool scripts) =>
        chromium.Browser.NewContextAsync(new BrowserNewContextOptions { BaseURL = hub.Address.ToString(), JavaScriptEnabled = scripts });

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
