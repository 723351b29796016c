using System.Diagnostics;
using Capsul.Cli;
using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Microsoft.Extensions.Logging;

namespace Capsul.Bench;

/// <summary>
/// From the POST of the create form to the SSH login, against a bare QEMU of the same image with the same accelerator,
/// in pairs that take turns, looked at equally often; and what the Hub itself takes: until the POST is answered, and
/// until libvirt is told to start. The database runs with fsync, as in production.
/// </summary>
static class CreateBench
{
    const int Pairs = 9, Posts = 200, WarmUps = 20;
    const double MaxRatio = 1.3, AimRatio = 1.15, MaxPostMs = 50, MaxStartMs = 500;
    const string Size = "f1-s";

    /// <summary>A capsul whose boot takes longer has failed by then, in the Hub's own eyes.</summary>
    static readonly TimeSpan RunningLimit = TimeSpan.FromMinutes(21);
    static readonly TimeSpan GoneLimit = TimeSpan.FromMinutes(2), ImageLimit = TimeSpan.FromMinutes(2);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        try
        {
            var posts = await PostsAsync(Path.Combine(folder, "posts"), cancel);
            var (ratios, starts, kvm) = await PairsAsync(Path.Combine(folder, "pairs"), cancel);
            return Judge(check, ratios, posts, starts, kvm);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static int Judge(bool check, List<double> ratios, List<double> posts, List<double> starts, bool kvm)
    {
        var (ratio, post, start) =
            (Figures.Median(ratios), Figures.Percentile(posts, 99), Figures.Percentile(starts, 95));
        return Figures.Verdict(check, ratio <= MaxRatio && post <= MaxPostMs && start <= MaxStartMs,
            $"create: ratio to bare QEMU median {Figures.Text(ratio)} (bar {Figures.Text(MaxRatio)}, "
            + $"aim {Figures.Text(AimRatio)}; {ratios.Count} pairs, both on {(kvm ? "KVM" : "TCG")}), "
            + $"POST accepted p99 {Figures.Text(post, "0.0")} ms (bar {MaxPostMs}; {posts.Count}), "
            + $"POST to libvirt start p95 {Figures.Text(start, "0")} ms (bar {MaxStartMs}; {starts.Count})");
    }

    static Settings SettingsFor(string folder, bool simulated) => Settings.Load(new Dictionary<string, string>
    {
        ["CAPSUL_DATA"] = folder,
        ["CAPSUL_ENVIRONMENT"] = "development",
        ["CAPSUL_IMAGES"] = DemoRun.ImageCache,
        ["CAPSUL_HYPERVISOR"] = simulated ? "simulated" : "libvirt",
        ["CAPSUL_PORT"] = "0",
        ["CAPSUL_LINK_PORT"] = "0",
        ["CAPSUL_MAX_VMS"] = "1000",
        ["CAPSUL_BUILD_SLOTS"] = "1000",
        ["CAPSUL_RELAY_PORTS"] = "23000-23999",
        ["CAPSUL_VM_NETWORK"] = "10.78.0.0/22",
    });

    /// <summary>
    /// Milliseconds until the Hub has answered the POST, over the simulated hypervisor so that many can be asked for.
    /// </summary>
    static async Task<List<double>> PostsAsync(string folder, CancellationToken cancel)
    {
        Console.WriteLine($"POST of the create form, {Posts} times, simulated hypervisor:");
        await using var running = await RunningCapsul.StartAsync(
            SettingsFor(folder, simulated: true), withHub: true, withSpoke: true, LogLevel.Error, cancel);
        using var door = new FrontDoor(running.BaseUrl);
        var visitor = await EnterAsync(door, folder, cancel);
        for (var n = 0; n < WarmUps; n++) await visitor.PostCreateAsync(Size, TinyImage.Id, "", cancel);
        var times = new List<double>();
        for (var n = 0; n < Posts; n++)
            times.Add((await visitor.PostCreateAsync(Size, TinyImage.Id, "", cancel)).Took.TotalMilliseconds);
        Console.WriteLine($"  median {Figures.Text(Figures.Median(times), "0.0")} ms, "
            + $"p95 {Figures.Text(Figures.Percentile(times, 95), "0.0")} ms, "
            + $"p99 {Figures.Text(Figures.Percentile(times, 99), "0.0")} ms");
        return times;
    }

    static async Task<(List<double> Ratios, List<double> Starts, bool Kvm)> PairsAsync(
        string folder, CancellationToken cancel)
    {
        var settings = SettingsFor(folder, simulated: false);
        var images = new ImageStore(settings.Images);
        var image = await ImageVerb.EnsureAsync(images, TinyImage.Id, force: false, cancel);
        var watch = new StartWatch();
        try
        {
            await using var running =
                await RunningCapsul.StartAsync(settings, withHub: true, withSpoke: true, LogLevel.Error, cancel,
                    logs => logs.AddProvider(watch)
                        .AddFilter<StartWatch>("Capsul.Spoke.Hypervisor.Libvirt", LogLevel.Debug));
            using var door = new FrontDoor(running.BaseUrl);
            var visitor = await EnterAsync(door, folder, cancel);
            // The verdict that the Spoke keeps in the same folder.
            var kvm = await new KvmProbe(settings, TimeProvider.System).DecideAsync(cancel);
            Console.WriteLine($"both sides on {(kvm.Use ? "KVM" : "TCG")}: {kvm.Why}");
            var publicKey = await File.ReadAllTextAsync(visitor.KeyFile + ".pub", cancel);
            var bare = new BareGuest(images, image, folder, publicKey, memoryMb: 1024, kvm.Use);
            await WarmUpAsync(visitor, bare, cancel);
            var (ratios, starts) = await MeasureAsync(visitor, bare, watch, cancel);
            return (ratios, starts, kvm.Use);
        }
        finally
        {
            await Sandbox.StopAsync(settings, TimeProvider.System, CancellationToken.None);
        }
    }

    static async Task<Visitor> EnterAsync(FrontDoor door, string folder, CancellationToken cancel)
    {
        var visitor = new Visitor(door, folder);
        await door.SignInAsync("bench@example.org", cancel);
        await visitor.AddKeyAsync(cancel);
        await visitor.TopUpAsync("1000", cancel);
        await Within.HoldsAsync(ImageLimit, "The Spoke's offer of the image", async token =>
            (await door.PageAsync("/vms/new", token))
            .Contains($"value=\"{TinyImage.Id}\"", StringComparison.Ordinal), cancel);
        return visitor;
    }

    static async Task WarmUpAsync(Visitor visitor, BareGuest bare, CancellationToken cancel)
    {
        await ThroughHubAsync(visitor, cancel);
        await bare.RunAsync(visitor, Ports.TakeFree(), cancel);
    }

    static async Task<(List<double>, List<double>)> MeasureAsync(
        Visitor visitor, BareGuest bare, StartWatch watch, CancellationToken cancel)
    {
        var (ratios, starts) = (new List<double>(), new List<double>());
        Console.WriteLine("pair   bare QEMU   through the Hub   ratio   POST to libvirt start");
        for (var n = 1; n <= Pairs; n++)
        {
            // They take turns in going first, so that what drifts on the machine hits both.
            var baseline = n % 2 == 0 ? await bare.RunAsync(visitor, Ports.TakeFree(), cancel) : TimeSpan.Zero;
            var (took, id, posted) = await ThroughHubAsync(visitor, cancel);
            if (n % 2 == 1) baseline = await bare.RunAsync(visitor, Ports.TakeFree(), cancel);
            var start = Stopwatch.GetElapsedTime(posted, watch.StartedAt[id]).TotalMilliseconds;
            ratios.Add(took / baseline);
            starts.Add(start);
            Console.WriteLine($"{n,4}   {Figures.Text(baseline.TotalSeconds),7} s   "
                + $"{Figures.Text(took.TotalSeconds),13} s   {Figures.Text(took / baseline),5}   "
                + $"{Figures.Text(start, "0"),18} ms");
        }
        return (ratios, starts);
    }

    /// <summary>From the POST to the end of the login, then deletes it and waits until it is gone.</summary>
    static async Task<(TimeSpan Took, string Id, long PostedAt)> ThroughHubAsync(
        Visitor visitor, CancellationToken cancel)
    {
        var (id, _, posted) = await visitor.PostCreateAsync(Size, TinyImage.Id, "", cancel);
        var steps = new List<string>();
        var address = await Within.LimitAsync(RunningLimit, $"The boot of {id}",
            token => visitor.AwaitRunningAsync(id, step => steps.Add(Passed($"\"{step}\"")), token), cancel);
        steps.Add(Passed("seen to run"));
        await visitor.LoginAsync(address, "true", cancel);
        var took = Stopwatch.GetElapsedTime(posted);
        Console.WriteLine($"       {string.Join(", ", steps)}, logged in {Figures.Text(took.TotalSeconds)} s");
        await visitor.DeleteAsync(id, cancel);
        await Within.LimitAsync(GoneLimit, $"The deletion of {id}", token => visitor.AwaitGoneAsync(id, token), cancel);
        return (took, id, posted);

        string Passed(string what) => $"{what} {Figures.Text(Stopwatch.GetElapsedTime(posted).TotalSeconds)} s";
    }

}
