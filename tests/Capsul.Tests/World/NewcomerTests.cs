using System.Text.RegularExpressions;
using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Tests.Browser;
using Capsul.Tests.Support;
using Microsoft.Playwright;

namespace Capsul.Tests.World;

/// <summary>
/// A newcomer's whole path, with a real browser, real ssh and a real guest: from the home page until nothing is left.
/// </summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed partial class NewcomerTests(Chromium chromium) : IClassFixture<Chromium>
{
    const string Somebody = "grace@example.org";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    readonly string folder = TestFolder.Make("newcomer");

    string KeyFile => Path.Combine(folder, "id_ed25519");

    [Fact]
    public async Task From_the_home_page_to_a_login_on_a_new_machine_and_its_deletion()
    {
        await using var world = await RealWorld.StartAsync(ownDatabase: true);
        await using var context = await chromium.NewContextAsync(new BrowserNewContextOptions
        {
            BaseURL = world.Address.ToString(),
            ViewportSize = new ViewportSize { Width = 1280, Height = 900 },
        });
        var page = await context.NewPageAsync();
        var errors = new List<string>();
        page.Console += (_, message) =>
        {
            if (message.Type == "error") errors.Add($"{page.Url}: {message.Text}");
        };

        await SignInAsync(page);
        var id = await CreateAsync(page);
        var ssh = await ReadAddressAsync(page);
        var fingerprint = await EnterAsync(page, ssh);
        await StopAndStartAsync(page, ssh, fingerprint);
        (await world.IsChargedAsync(id)).ShouldBeTrue();
        await DeleteAsync(page, world, id, ssh);
        errors.ShouldBeEmpty();
    }

    /// <summary>Clicks one to three: create, email me a link, the link. (The email page replaces a mailbox.)</summary>
    static async Task SignInAsync(IPage page)
    {
        await page.GotoAsync("/");
        await Chromium.PictureAsync(page, "newcomer-1-landing");
        await page.GetByRole(AriaRole.Link, new() { Name = "Create capsul" }).ClickAsync();
        await page.GetByLabel("Email address").FillAsync(Somebody);
        await page.GetByRole(AriaRole.Button, new() { Name = "Email me a link" }).ClickAsync();
        await Assertions.Expect(page.GetByText(Somebody)).ToBeVisibleAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "the email page" }).ClickAsync();
        await page.GetByRole(AriaRole.Article).Filter(new() { HasText = Somebody }).First
            .GetByRole(AriaRole.Link, new() { NameRegex = SignInAddress() }).ClickAsync();
    }

    /// <summary>The fourth click: the page behind the link has everything that is needed.</summary>
    async Task<string> CreateAsync(IPage page)
    {
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "grace@laptop", "-f", KeyFile)
            .RunAsync(Cancel);
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Create a capsul" }))
            .ToBeVisibleAsync();
        await page.GetByRole(AriaRole.Radio, new() { NameRegex = SmallSize() }).CheckAsync();
        await page.GetByRole(AriaRole.Radio, new() { NameRegex = TinyLinux() }).CheckAsync();
        await page.GetByLabel("Public SSH key").FillAsync(await File.ReadAllTextAsync(KeyFile + ".pub", Cancel));
        await page.GetByLabel("Add play money").FillAsync("12.50");
        await page.GetByLabel("Name").FillAsync("hopper");
        await Assertions.Expect(page.GetByText("Total $5.00/month · $0.0069/hour")).ToBeVisibleAsync();
        await Chromium.PictureAsync(page, "newcomer-3-form");
        await page.GetByRole(AriaRole.Button, new() { Name = "Create capsul" }).ClickAsync();
        await page.WaitForURLAsync(VmAddress());
        // The page is not reloaded: its script shows the steps as they happen.
        await Assertions.Expect(page.GetByText("Booting")).ToBeVisibleAsync();
        await Chromium.PictureAsync(page, "newcomer-4-booting");
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Connect" }))
            .ToBeVisibleAsync(new() { Timeout = 90_000 });
        await Assertions.Expect(page.GetByText("running", new() { Exact = true }).First).ToBeVisibleAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Copy the SSH command" }))
            .ToBeVisibleAsync();
        await Chromium.PictureAsync(page, "newcomer-5-running");
        return VmAddress().Match(page.Url).Groups["id"].Value;
    }

    static async Task<SshAddress> ReadAddressAsync(IPage page)
    {
        var match = SshCommand()
            .Match(await page.GetByRole(AriaRole.Region, new() { Name = "Connect" }).InnerTextAsync());
        match.Success.ShouldBeTrue("the page shows an ssh command");
        return new SshAddress(
            match.Groups["user"].Value, match.Groups["host"].Value, int.Parse(match.Groups["port"].Value));
    }

    /// <summary>Logs in as the page says, trusting only what the page shows. Returns the fingerprint.</summary>
    async Task<string> EnterAsync(IPage page, SshAddress ssh)
    {
        var region = page.GetByRole(AriaRole.Region, new() { Name = "Connect" });
        await region.GetByText("known_hosts entries").ClickAsync();
        await File.WriteAllTextAsync(Path.Combine(folder, "known_hosts"),
            await region.GetByLabel("known_hosts entries", new() { Exact = true }).InnerTextAsync() + "\n", Cancel);
        var fingerprint = await region.Locator("code", new() { HasText = "SHA256:" }).First.InnerTextAsync();

        var scan = await new Command("ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", ssh.Port.ToString(), ssh.Host)
            .RunAsync(Cancel);
        (await (new Command("ssh-keygen", "-lf", "-") with { Input = scan.Output }).RunAsync(Cancel))
            .Output.ShouldContain(fingerprint);
        (await SshAsync(ssh, "hostname; whoami; echo 'I was here' > note; sync")).ShouldBe("hopper\ncapsul");
        return fingerprint;
    }

    async Task StopAndStartAsync(IPage page, SshAddress ssh, string fingerprint)
    {
        await page.GetByRole(AriaRole.Button, new() { Name = "Stop", Exact = true }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Start", Exact = true }))
            .ToBeVisibleAsync(new() { Timeout = 90_000 });
        await Chromium.PictureAsync(page, "newcomer-6-stopped");
        await page.GetByRole(AriaRole.Button, new() { Name = "Start", Exact = true }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Stop", Exact = true }))
            .ToBeVisibleAsync(new() { Timeout = 90_000 });
        await Assertions.Expect(page.GetByRole(AriaRole.Region, new() { Name = "Connect" }))
            .ToContainTextAsync(fingerprint);
        // With the earlier known_hosts: the host key is the same.
        (await SshAsync(ssh, "cat note")).ShouldBe("I was here");
    }

    static async Task DeleteAsync(IPage page, RealWorld world, string id, SshAddress ssh)
    {
        await page.GetByRole(AriaRole.Link, new() { Name = "Delete" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Delete this capsul?" }))
            .ToBeVisibleAsync();
        await Chromium.PictureAsync(page, "newcomer-7-delete");
        await page.GetByRole(AriaRole.Button, new() { Name = "Delete permanently" }).ClickAsync();
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await page.GotoAsync("/console");
        await Assertions.Expect(page.GetByText("hopper")).ToHaveCountAsync(0);
        await Chromium.PictureAsync(page, "newcomer-8-gone");
        await world.ShouldBeGoneAsync(id, ssh.Port);
        await page.GotoAsync("/balance");
        var cost = page.GetByRole(AriaRole.Region, new() { Name = "Usage" });
        await Assertions.Expect(cost).ToContainTextAsync("deleted");
    }

    /// <summary>ssh as a careful person uses it: only a known host key is accepted.</summary>
    async Task<string> SshAsync(SshAddress ssh, string command)
    {
        var result = await new Command("ssh", "-i", KeyFile, "-p", ssh.Port.ToString(), "-o",
            "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
            "-o", $"UserKnownHostsFile={Path.Combine(folder, "known_hosts")}", "-o", "LogLevel=ERROR",
            "-o", "ConnectTimeout=20", $"{ssh.User}@{ssh.Host}", command).RunAsync(Cancel);
        return result.Output.Trim();
    }

    [GeneratedRegex("^http.*sign-in", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SignInAddress();

    [GeneratedRegex("^f1-xs", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SmallSize();

    [GeneratedRegex("^Tiny Linux", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex TinyLinux();

    [GeneratedRegex("/vms/(?<id>capsul-[a-z0-9]{10})$", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex VmAddress();

    [GeneratedRegex("ssh -p (?<port>[0-9]+) (?<user>[a-z]+)@(?<host>[0-9.]+)",
        RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SshCommand();
}
