using System.Text.RegularExpressions;
using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Tests.Browser;
using Capsul.Tests.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Microsoft.Playwright;

namespace Capsul.Tests.World;

/// <summary>The whole way of somebody new, with a real browser, a real ssh and a real guest: from the landing page until nothing is left.</summary>
[Trait("Group", "world"), Collection(nameof(RealHypervisor))]
public sealed partial class NewcomerTests(Chromium chromium) : IClassFixture<Chromium>
{
    const string Somebody = "grace@example.org";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    readonly string folder = TestFolder.Make("newcomer");

    string KeyFile => Path.Combine(folder, "id_ed25519");

    [Fact]
    public async Task From_the_landing_page_into_a_machine_of_ones_own_and_out_again()
    {
        await using var world = await RealWorld.StartAsync(ownDatabase: true);
        await using var context = await chromium.Browser.NewContextAsync(new BrowserNewContextOptions
        {
            BaseURL = world.Address.ToString(),
            ViewportSize = new ViewportSize { Width = 1280, Height = 900 },
        });
        context.SetDefaultTimeout(30_000);
        var page = await context.NewPageAsync();
        var errors = new List<string>();
        page.Console += (_, message) =>
        {
            if (message.Type == "error") errors.Add($"{page.Url}: {message.Text}");
        };

        await SignInAsync(page);
        await AddKeyAsync(page);
        await TopUpAsync(page);
        var id = await MakeAsync(page);
        var ssh = await ReadAddressAsync(page);
        var fingerprint = await EnterAsync(page, ssh);
        await StopAndStartAsync(page, ssh, fingerprint);
        (await world.IsChargedAsync(id)).ShouldBeTrue();
        await DeleteAsync(page, world, id, ssh);
        errors.ShouldBeEmpty();
    }

    static async Task SignInAsync(IPage page)
    {
        await page.GotoAsync("/");
        await Chromium.PictureAsync(page, "newcomer-1-landing");
        await page.GetByRole(AriaRole.Link, new() { Name = "Sign in" }).First.ClickAsync();
        await page.GetByLabel("E-mail address").FillAsync(Somebody);
        await page.GetByRole(AriaRole.Button, new() { Name = "Mail me a link" }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "the page of mails" }).ClickAsync();
        await page.GetByRole(AriaRole.Article).Filter(new() { HasText = Somebody }).First
            .GetByRole(AriaRole.Link, new() { NameRegex = SignInAddress() }).ClickAsync();
        await Assertions.Expect(page.GetByText(Somebody).First).ToBeVisibleAsync();
    }

    async Task AddKeyAsync(IPage page)
    {
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "grace@laptop", "-f", KeyFile).RunAsync(Cancel);
        await page.GotoAsync("/keys");
        await page.GetByLabel("Public key").FillAsync(await File.ReadAllTextAsync(KeyFile + ".pub", Cancel));
        await page.GetByRole(AriaRole.Button, new() { Name = "Add the key" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.List, new() { Name = "Your keys" })).ToContainTextAsync("grace@laptop");
    }

    static async Task TopUpAsync(IPage page)
    {
        await page.GotoAsync("/balance");
        await page.GetByLabel("Dollars of play money").FillAsync("12.50");
        await page.GetByRole(AriaRole.Button, new() { Name = "Top up" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Region, new() { Name = "Your balance" })).ToContainTextAsync("$12.50");
        await Chromium.PictureAsync(page, "newcomer-2-balance");
    }

    static async Task<string> MakeAsync(IPage page)
    {
        await page.GotoAsync("/vms/new");
        await page.GetByRole(AriaRole.Radio, new() { NameRegex = SmallSize() }).CheckAsync();
        await page.GetByRole(AriaRole.Radio, new() { NameRegex = TinyLinux() }).CheckAsync();
        await page.GetByRole(AriaRole.Checkbox, new() { NameRegex = KeyName() }).CheckAsync();
        await page.GetByLabel("Name").FillAsync("hopper");
        await Chromium.PictureAsync(page, "newcomer-3-form");
        await page.GetByRole(AriaRole.Button, new() { Name = "Make the capsul" }).ClickAsync();
        await page.WaitForURLAsync(VmAddress());
        // The page is not loaded again: its script follows the steps as they happen.
        await Assertions.Expect(page.GetByText("It boots")).ToBeVisibleAsync();
        await Chromium.PictureAsync(page, "newcomer-4-booting");
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Enter it" })).ToBeVisibleAsync(new() { Timeout = 90_000 });
        await Assertions.Expect(page.GetByText("running", new() { Exact = true }).First).ToBeVisibleAsync();
        await Chromium.PictureAsync(page, "newcomer-5-running");
        return VmAddress().Match(page.Url).Groups["id"].Value;
    }

    static async Task<SshAddress> ReadAddressAsync(IPage page)
    {
        var match = SshCommand().Match(await page.GetByRole(AriaRole.Region, new() { Name = "Enter it" }).InnerTextAsync());
        match.Success.ShouldBeTrue("the page shows an ssh command");
        return new SshAddress(match.Groups["user"].Value, match.Groups["host"].Value, int.Parse(match.Groups["port"].Value));
    }

    /// <summary>Logs in as the page says, trusting only what the page shows. Gives the fingerprint.</summary>
    async Task<string> EnterAsync(IPage page, SshAddress ssh)
    {
        var region = page.GetByRole(AriaRole.Region, new() { Name = "Enter it" });
        await region.GetByText("Lines for your known_hosts file").ClickAsync();
        await File.WriteAllTextAsync(Path.Combine(folder, "known_hosts"), await region.GetByLabel("Lines for known_hosts").InnerTextAsync() + "\n", Cancel);
        var fingerprint = await region.Locator("code", new() { HasText = "SHA256:" }).First.InnerTextAsync();

        var scan = await new Command("ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", ssh.Port.ToString(), ssh.Host).RunAsync(Cancel);
        (await (new Command("ssh-keygen", "-lf", "-") with { Input = scan.Output }).RunAsync(Cancel)).Output.ShouldContain(fingerprint);
        (await SshAsync(ssh, "hostname; whoami; echo 'I was here' > note; sync")).ShouldBe("hopper\ncapsul");
        return fingerprint;
    }

    async Task StopAndStartAsync(IPage page, SshAddress ssh, string fingerprint)
    {
        await page.GetByRole(AriaRole.Button, new() { Name = "Stop" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Start", Exact = true })).ToBeVisibleAsync(new() { Timeout = 90_000 });
        await Chromium.PictureAsync(page, "newcomer-6-stopped");
        await page.GetByRole(AriaRole.Button, new() { Name = "Start", Exact = true }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Stop" })).ToBeVisibleAsync(new() { Timeout = 90_000 });
        await Assertions.Expect(page.GetByRole(AriaRole.Region, new() { Name = "Enter it" })).ToContainTextAsync(fingerprint);
        (await SshAsync(ssh, "cat note")).ShouldBe("I was here"); // Through the known_hosts of before: the host key is the same.
    }

    static async Task DeleteAsync(IPage page, RealWorld world, string id, SshAddress ssh)
    {
        await page.GetByRole(AriaRole.Link, new() { Name = "Delete" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Delete this capsul?" })).ToBeVisibleAsync();
        await Chromium.PictureAsync(page, "newcomer-7-delete");
        await page.GetByRole(AriaRole.Button, new() { Name = "Delete it for good" }).ClickAsync();
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await page.GotoAsync("/console");
        await Assertions.Expect(page.GetByText("hopper")).ToHaveCountAsync(0);
        await Chromium.PictureAsync(page, "newcomer-8-gone");
        await world.ShouldBeGoneAsync(id, ssh.Port);
        await page.GotoAsync("/balance");
        var cost = page.GetByRole(AriaRole.Region, new() { Name = "What capsuls have cost" });
        await Assertions.Expect(cost).ToContainTextAsync("deleted");
    }

    /// <summary>ssh as a careful person uses it: only a host key that is known already is good enough.</summary>
    async Task<string> SshAsync(SshAddress ssh, string command)
    {
        var result = await new Command("ssh", "-i", KeyFile, "-p", ssh.Port.ToString(), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
            "-o", $"UserKnownHostsFile={Path.Combine(folder, "known_hosts")}", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", $"{ssh.User}@{ssh.Host}", command).RunAsync(Cancel);
        return result.Output.Trim();
    }

    [GeneratedRegex("/sign-in/", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SignInAddress();

    [GeneratedRegex("^f1-xs", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SmallSize();

    [GeneratedRegex("^Tiny Linux", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex TinyLinux();

    [GeneratedRegex("grace@laptop", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex KeyName();

    [GeneratedRegex("/vms/(?<id>capsul-[a-z0-9]{10})$", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex VmAddress();

    [GeneratedRegex("ssh -p (?<port>[0-9]+) (?<user>[a-z]+)@(?<host>[0-9.]+)", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SshCommand();
}
