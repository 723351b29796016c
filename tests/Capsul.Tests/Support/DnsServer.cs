using System.Diagnostics;
using System.Security.Cryptography;
using Capsul.Foundation;

namespace Capsul.Tests.Support;

/// <summary>
/// A real DNS server (Knot) on loopback that has the reverse zones of the documentation addresses, and takes updates of
/// them that are signed with its key.
/// </summary>
public sealed class DnsServer : IAsyncDisposable
{
    public const string Zone = "113.0.203.in-addr.arpa", Zone6 = "8.b.d.0.1.0.0.2.ip6.arpa";

    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    readonly string folder = TestFolder.Make("dns");
    readonly string secret = Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));
    Process? knot;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public int Port { get; } = Ports.TakeFree();

    /// <summary>As in CAPSUL_DNS_KEY.</summary>
    public string Key => $"hmac-sha256:capsul:{secret}";

    /// <summary>Of a Hub that tells this server.</summary>
    public (string Name, string? Value)[] Settings =>
    [
        ("CAPSUL_DNS_SERVER", "127.0.0.1"), ("CAPSUL_DNS_PORT", $"{Port}"), ("CAPSUL_DNS_KEY", Key),
    ];

    public static async Task<DnsServer> StartAsync()
    {
        var server = new DnsServer();
        await server.WriteAsync();
        await server.ResumeAsync();
        return server;
    }

    async Task WriteAsync()
    {
        foreach (var zone in (string[])[Zone, Zone6])
            await File.WriteAllTextAsync(Path.Combine(folder, $"{zone}.zone"), $"""
                $ORIGIN {zone}.
                $TTL 3600
                @ SOA ns.example.org. hostmaster.example.org. 1 3600 600 86400 600
                @ NS ns.example.org.

                """, Cancel);
        await File.WriteAllTextAsync(Path.Combine(folder, "knot.conf"), $"""
            server:
                rundir: "{folder}"
                listen: 127.0.0.1@{Port}
            database:
                storage: "{folder}"
            key:
              - id: capsul
                algorithm: hmac-sha256
                secret: {secret}
            acl:
              - id: updates
                key: capsul
                action: update
                update-type: [PTR]
            template:
              - id: default
                storage: "{folder}"
                acl: updates
            zone:
              - domain: {Zone}
              - domain: {Zone6}

            """, Cancel);
    }

    /// <summary>As after <see cref="StopAsync"/>: with what it had.</summary>
    public async Task ResumeAsync()
    {
        var start = new ProcessStartInfo("knotd", ["-c", Path.Combine(folder, "knot.conf")])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        knot = Process.Start(start)!;
        knot.OutputDataReceived += (_, _) => { };
        knot.ErrorDataReceived += (_, _) => { };
        knot.BeginOutputReadLine();
        knot.BeginErrorReadLine();
        await Until.TrueAsync("the DNS server answers", Limit, async () => knot.HasExited
            ? throw new InvalidOperationException($"knotd exited with code {knot.ExitCode}.")
            : (await AskAsync(Zone6, "SOA")).Length > 0 && (await AskAsync(Zone, "SOA")).Length > 0);
    }

    public async Task StopAsync()
    {
        if (knot is null) return;
        if (!knot.HasExited) knot.Kill();
        await knot.WaitForExitAsync(CancellationToken.None);
        knot.Dispose();
        knot = null;
    }

    /// <summary>The names of an address, one a line, as anybody sees them.</summary>
    public Task<string> NamesAsync(string address) => DigAsync("-x", address);

    public Task<string> AskAsync(string name, string type) => DigAsync(name, type);

    async Task<string> DigAsync(params string[] question) => (await new Command(
        "dig", ["@127.0.0.1", "-p", $"{Port}", "+short", "+time=2", "+tries=1", .. question]).TryRunAsync(Cancel))
        is { ExitCode: 0, Output: var output } ? output.Trim() : "";

    /// <summary>Somebody changes a zone by hand.</summary>
    public async Task EditAsync(string update)
    {
        var key = Key.Split(':');
        await new Command("nsupdate", "-v")
        {
            Input = $"server 127.0.0.1 {Port}\nkey {key[0]}:{key[1]} {key[2]}\nupdate {update}\nsend\n",
        }.RunAsync(Cancel);
    }

    public async ValueTask DisposeAsync() => await StopAsync();
}
