using System.Diagnostics;
using System.Globalization;
using AngleSharp.Dom;
using Capsul.Cli;
using Capsul.Foundation;
using Capsul.Play;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;

namespace Capsul.Demo;

/// <summary>
/// A complete Capsul on one machine, in its own folder, with one VM that is created through the web pages and logged in
/// to with a real ssh. When it ends it removes everything it created except the image.
/// </summary>
public sealed class DemoRun(string image, bool simulated, bool exit)
{
    static readonly TimeSpan CreateLimit = TimeSpan.FromMinutes(5);
    readonly Stopwatch clock = Stopwatch.StartNew();
    const string Email = "demo@example.org";

    static string Folder => Environment.IsPrivilegedProcess
        ? "/var/lib/capsul-demo"
        : Path.Combine(Path.GetTempPath(), $"capsul-demo-{Environment.UserName}");

    /// <summary>Images outlive the demo, so that the second one starts immediately.</summary>
    public static string ImageCache => Environment.IsPrivilegedProcess
        ? "/var/cache/capsul/images"
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache/capsul/images");

    public async Task<int> RunAsync(CancellationToken cancel)
    {
        var settings = Settings.Load(new Dictionary<string, string>
        {
            ["CAPSUL_DATA"] = Folder,
            ["CAPSUL_ENVIRONMENT"] = "development",
            ["CAPSUL_IMAGES"] = ImageCache,
            ["CAPSUL_HYPERVISOR"] = simulated ? "simulated" : "libvirt",
            ["CAPSUL_PORT"] = Environment.GetEnvironmentVariable("CAPSUL_PORT") ?? "0",
            ["CAPSUL_LINK_PORT"] = "0",
            ["CAPSUL_POSTGRES_FSYNC"] = "off",
        });
        if (simulated) Say("SIMULATED: no hypervisor is used. The VM is not real, and nobody can log in to it.");
        await ImageVerb.EnsureAsync(new ImageStore(ImageCache), simulated ? TinyImage.Id : image, force: false, cancel);
        Done("image ready");
        await CleanUpAsync(settings);
        await using var provider = await PlayStripe.StartAsync(TimeProvider.System, cancel);
        settings = settings.With(provider.Settings);
        try
        {
            await using var running =
                await RunningCapsul.StartAsync(settings, withHub: true, withSpoke: true, LogLevel.Warning, cancel);
            Done("the Hub is running");
            provider.TellTo(running.BaseUrl);
            var worked = await VisitAsync(running, cancel);
            if (!exit && worked) await StayAsync(running, cancel);
            return worked ? 0 : 1;
        }
        finally
        {
            await CleanUpAsync(settings);
        }
    }

    async Task<bool> VisitAsync(RunningCapsul running, CancellationToken cancel)
    {
        var hub = running.BaseUrl;
        using var door = new FrontDoor(hub);
        var visitor = new Visitor(door, Folder);
        await door.SignInAsync(Email, cancel);
        Done("signed in with an emailed link");
        await visitor.AddKeyAsync(cancel);
        await visitor.TopUpAsync("20", cancel);
        Done("added an SSH key, added $20 of play money to the account");
        await AwaitHostAsync(door, running, cancel);
        Done("the Spoke is connected and has the image");
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(CreateLimit);
        var id = await visitor.CreateAsync("f1-s", simulated ? TinyImage.Id : image, "demo", limit.Token);
        Done($"requested {id}");
        var address = await visitor.AwaitRunningAsync(id, step => Done($"  {step}"), limit.Token);
        if (!simulated) await LogInAsync(visitor, id, address, limit.Token);
        await TellAsync(hub, id, address, visitor, cancel);
        return true;
    }

    /// <summary>The form offers an image once a host that has it is connected.</summary>
    async Task AwaitHostAsync(FrontDoor door, RunningCapsul running, CancellationToken cancel)
    {
        var wanted = $"input[name=Image][value='{(simulated ? TinyImage.Id : image)}']";
        while ((await door.ReadAsync("/vms/new", cancel)).QuerySelector(wanted) is null)
        {
            if (running.Spoke.IsCompleted) await running.Spoke;
            await Task.Delay(TimeSpan.FromMilliseconds(100), cancel);
        }
    }

    async Task LogInAsync(Visitor visitor, string id, SshAddress address, CancellationToken cancel)
    {
        var shown = await visitor.FingerprintsAsync(id, cancel);
        var seen = await visitor.SeenFingerprintAsync(address, cancel);
        if (!shown.Contains(seen, StringComparer.Ordinal))
            throw new ProblemException(ProblemKind.Forbidden,
                $"The host key on the network ({seen}) does not match the one on the page "
                + $"({string.Join(", ", shown)}).");
        Done("the host key on the network matches the one on the page");
        var says = await visitor.LoginAsync(address, "uname -a", cancel);
        Done($"logged in with ssh: {says}");
    }

    async Task TellAsync(Uri hub, string id, SshAddress address, Visitor visitor, CancellationToken cancel)
    {
        using var door = new FrontDoor(hub); // A second browser: the first is already signed in.
        var link = await door.SignInLinkAsync(Email, cancel);
        Console.WriteLine();
        Console.WriteLine($"  page      {new Uri(hub, $"/vms/{id}")}");
        Console.WriteLine($"  sign in   {new Uri(hub, link)}");
        Console.WriteLine($"  money     {new Uri(hub, "/balance/add")}");
        Console.WriteLine("            PLAY MONEY, paid at a pretended provider: no card is charged");
        Console.WriteLine(simulated
            ? "  ssh       none: the hypervisor is SIMULATED"
            : $"  ssh       ssh -i {visitor.KeyFile} -p {address.Port} -o StrictHostKeyChecking=accept-new -o "
                + $"UserKnownHostsFile=/dev/null {address.User}@{address.Host}");
        Console.WriteLine();
    }

    async Task StayAsync(RunningCapsul running, CancellationToken cancel)
    {
        Say("Press Ctrl-C to stop.");
        var ended = await Task.WhenAny(running.Spoke, Task.Delay(Timeout.Infinite, cancel));
        if (ended == running.Spoke) await running.Spoke;
        Say("Cleaning up …");
    }

    /// <summary>
    /// Also cleans up after a demo that was killed: its machines and its database may still be running.
    /// </summary>
    static async Task CleanUpAsync(Settings settings)
    {
        if (!Directory.Exists(settings.Data)) return;
        if (Directory.Exists(Path.Combine(settings.Data, "spoke")))
            await Sandbox.StopAsync(settings, TimeProvider.System, CancellationToken.None);
        if (File.Exists(Path.Combine(settings.Data, "postgres", "data", "PG_VERSION")))
        {
            var (server, _) = await Postgres.EmbeddedPostgres.StartAsync(
                settings, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance, CancellationToken.None);
            await server.StopAsync(CancellationToken.None);
        }
        Directory.Delete(settings.Data, recursive: true);
    }

    void Done(string what) => Console.WriteLine(
        string.Create(CultureInfo.InvariantCulture, $"{clock.Elapsed.TotalSeconds,7:0.00} s  {what}"));

    static void Say(string what) => Console.WriteLine(what);
}
