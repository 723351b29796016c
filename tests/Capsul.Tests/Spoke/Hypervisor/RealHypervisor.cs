using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>
/// The collection of tests that share one real sandbox; they run one after another, because guests are slow without
/// KVM.
/// </summary>
[CollectionDefinition(nameof(RealHypervisor))]
public sealed class RealHypervisorCollection : ICollectionFixture<RealHypervisor>;

/// <summary>
/// A sandbox with libvirtd in its own data folder, the tiny image, and an SSH key. Ended with everything in it.
/// </summary>
public sealed class RealHypervisor : IAsyncLifetime
{
    readonly string folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;

    /// <summary>Of the settings; none for the fixture.</summary>
    public IReadOnlyList<(string Name, string? Value)> Changes { get; init; } = [];

    /// <summary>The network namespace that plays the machine; null: this one.</summary>
    public string? Outside { get; init; }

    public Settings Settings { get; private set; } = null!;
    public ImageStore Images { get; private set; } = null!;
    public Libvirt Libvirt { get; private set; } = null!;
    public Image Tiny { get; private set; } = null!;
    public string KeyFile => Path.Combine(folder, "id");
    public string PublicKey { get; private set; } = "";
    public string RunFolder => new Uri(new Uri("file:///"), Sandbox.Uri.Split('=')[1]).LocalPath is var socket
        ? Path.GetDirectoryName(socket)!
        : "";
    public Sandbox Sandbox { get; private set; } = null!;

    /// <summary>Where images are kept between test runs.</summary>
    public static string ImageFolder =>
        Environment.GetEnvironmentVariable("TEST_IMAGES") is { Length: > 0 } set ? set : "/var/cache/capsul/images";

    public async ValueTask InitializeAsync()
    {
        Settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_KVM"] = "off",
            // The machine's real network is none of the tests' business.
            ["CAPSUL_OUTBOUND"] = "off",
            ["CAPSUL_IMAGES"] = ImageFolder,
        }).With([.. Changes]);
        Images = new ImageStore(Settings.Images);
        Tiny = await TinyAsync(Images, CancellationToken.None);
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KeyFile)
            .RunAsync(CancellationToken.None);
        PublicKey = (await File.ReadAllTextAsync(KeyFile + ".pub")).Trim();
        Libvirt = new Libvirt(Settings, Images, NullLogger.Instance, TimeProvider.System)
        {
            OutsideNetwork = Outside,
        };
        var watch = Stopwatch.StartNew();
        await Libvirt.PrepareAsync(CancellationToken.None);
        Say($"prepare, cold: {watch.ElapsedMilliseconds} ms");
        Sandbox = await Sandbox.OpenAsync(
            Settings, kvm: false, TimeProvider.System, NullLogger.Instance, CancellationToken.None);
    }

    public async ValueTask DisposeAsync()
    {
        Sandbox?.Dispose();
        if (Libvirt is not null) await Libvirt.DisposeAsync();
        await Sandbox.StopAsync(Settings, TimeProvider.System, CancellationToken.None);
        Directory.Delete(folder, recursive: true);
    }

    public static Task<Image> TinyAsync(ImageStore images, CancellationToken cancel) =>
        ImageAsync(images, TinyImage.Id, cancel);

    /// <summary>
    /// Builds an image if it is missing or outdated; a lock prevents two test runs from doing it at the same time.
    /// </summary>
    public static async Task<Image> ImageAsync(ImageStore images, string id, CancellationToken cancel)
    {
        Directory.CreateDirectory(images.Folder);
        var watch = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                await using var held = new FileStream(Path.Combine(images.Folder, $".lock-{id}"),
                    FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
                return images.Current(id) is { } there && TinyImage.IsCurrent(there) ? there : await (id == TinyImage.Id
                    ? TinyImage.BuildAsync(images, _ => { }, cancel)
                    : DebianImage.BuildAsync(images, _ => { }, cancel));
            }
            catch (IOException) when (watch.Elapsed < TimeSpan.FromMinutes(20))
            {
                await Task.Delay(200, cancel);
            }
        }
    }

    public VmSpec Spec(string letters, int number) =>
        new($"capsul-{letters}", "t" + number, Vcpus: 1, MemoryMb: 256, DiskGb: 1, Tiny.Id, Tiny.Sha256,
            $"52:54:00:12:34:{number:x2}", IPAddress.Parse($"10.77.0.{number}"), [PublicKey], HasRun: false)
        {
            Address6 = Filter.Derive(Settings.VmNetwork6!.Value.BaseAddress, $"52:54:00:12:34:{number:x2}"),
        };

    public Task CreateAsync(VmSpec vm) => CreateAsync(Libvirt, vm);

    public static async Task CreateAsync(Libvirt libvirt, VmSpec vm)
    {
        await libvirt.MakeDiskAsync(vm, CancellationToken.None);
        await libvirt.DefineAsync(vm, CancellationToken.None);
        await libvirt.StartAsync(vm, CancellationToken.None);
    }

    /// <summary>Waits until SSH responds.</summary>
    public async Task WaitForSshAsync(VmSpec vm, int seconds = 180)
    {
        var watch = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                await using var stream = await Libvirt.DialAsync(vm.Address, 22, CancellationToken.None);
                using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(2));
                var start = new byte[4];
                await stream.ReadExactlyAsync(start, limit.Token);
                if (start.AsSpan().SequenceEqual("SSH-"u8)) return;
            }
            catch (Exception error) when ((error is HypervisorException or IOException or OperationCanceledException)
                && watch.Elapsed.TotalSeconds < seconds)
            {
                await Task.Delay(50);
            }
        }
    }

    /// <summary>Real ssh to the VM, through a relay over the hypervisor's connection.</summary>
    public async Task<CommandResult> SshAsync(VmSpec vm, string command, string user = "capsul", string? key = null)
    {
        var watch = Stopwatch.StartNew();
        while (true)
        {
            var result = await SshOnceAsync(vm, command, user, key);
            if (!WasTurnedAway(result) || watch.Elapsed > TimeSpan.FromSeconds(60)) return result;
            await Task.Delay(200);
        }
    }

    /// <summary>
    /// Whether nothing was begun: dropbear closes connections without a word while five others of the same address
    /// (those that looked whether it is there) have not authenticated.
    /// </summary>
    static bool WasTurnedAway(CommandResult result) => result.ExitCode == 255
        && (result.Error.Contains("kex_exchange_identification", StringComparison.Ordinal)
            || result.Error.Contains("Connection closed by", StringComparison.Ordinal));

    async Task<CommandResult> SshOnceAsync(VmSpec vm, string command, string user, string? key)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var relay = RelayAsync(listener, vm);
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        var result = await new Command("ssh", "-i", key ?? KeyFile, "-p", port.ToString(),
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", $"{user}@127.0.0.1", command)
        { Timeout = TimeSpan.FromSeconds(120) }.TryRunAsync(CancellationToken.None);
        listener.Stop();
        await relay;
        return result;
    }

    public async Task WaitForPowerAsync(VmSpec vm, DomainPower power, int seconds = 120)
    {
        var watch = Stopwatch.StartNew();
        while (await Libvirt.FindAsync(vm.Id, CancellationToken.None) is var now && now != power)
        {
            if (watch.Elapsed.TotalSeconds > seconds)
                throw new TimeoutException($"{vm.Id} is {now}, not {power}, after {seconds} s.");
            await Task.Delay(50);
        }
    }

    /// <summary>Runs virsh inside the sandbox, to check the actual state.</summary>
    public async Task<string> VirshAsync(params string[] arguments) =>
        (await new Command("virsh", ["-q", "-c", Sandbox.Uri, .. arguments])
            .TryRunAsync(CancellationToken.None)).Output;

    public static void Say(string text) => TestContext.Current.SendDiagnosticMessage("{0}", text);

    async Task RelayAsync(TcpListener listener, VmSpec vm)
    {
        using var client = await listener.AcceptTcpClientAsync();
        await using var outside = client.GetStream();
        try
        {
            await using var inside = await Libvirt.DialAsync(vm.Address, 22, CancellationToken.None);
            await Task.WhenAny(outside.CopyToAsync(inside), inside.CopyToAsync(outside));
        }
        catch (Exception error) when (error is IOException or HypervisorException)
        {
            // One side closed the connection, which is how a relay ends; or the guest did not answer in time.
        }
    }
}
