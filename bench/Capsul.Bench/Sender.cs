using System.Globalization;
using Capsul.Foundation;

namespace Capsul.Bench;

/// <summary>A guest that sends to a server outside.</summary>
/// <param name="guest">Network namespace from which it is reached by SSH.</param>
/// <param name="login">Its user and address.</param>
/// <param name="key">File of the private key.</param>
/// <param name="outside">Network namespace of the server.</param>
/// <param name="server">Address of the server.</param>
sealed class Sender(string guest, string login, string key, string outside, string server)
{
    const int Port = 9000, FirstMegabytes = 8;

    static readonly TimeSpan BootLimit = TimeSpan.FromMinutes(5), ListenLimit = TimeSpan.FromSeconds(30),
        SendLimit = TimeSpan.FromMinutes(5);

    const double RoundSeconds = 3;

    /// <summary>How many megabytes take a few seconds.</summary>
    public async Task<int> FindSizeAsync(CancellationToken cancel) =>
        Math.Max(FirstMegabytes, (int)(await SendAsync(FirstMegabytes, cancel) * RoundSeconds));

    /// <summary>Megabytes (10⁶ bytes) a second by the guest's clock, until the server has all of them.</summary>
    public async Task<double> SendAsync(int megabytes, CancellationToken cancel)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        // It ends with the connection, and the guest's program then ends too.
        var serving = In(outside, "busybox", "nc", "-l", "-p", $"{Port}", "-e", "sh", "-c", "exec cat >/dev/null")
            .TryRunAsync(stop.Token);
        try
        {
            await Within.HoldsAsync(ListenLimit, "The server outside", async token =>
                (await In(outside, "ss", "-Hltn", $"sport = :{Port}").RunAsync(token)).Output.Length > 0, cancel);
            var said = await Ssh("read -r a b </proc/uptime; "
                + $"dd if=/dev/zero bs=100000 count={megabytes * 10} 2>/dev/null | nc {server} {Port} || exit 1; "
                + "read -r c d </proc/uptime; echo $a $c").RunAsync(cancel);
            await serving;
            var times = said.Output.Trim().Split(' ')
                .Select(t => double.Parse(t, CultureInfo.InvariantCulture)).ToArray();
            return megabytes / (times[1] - times[0]);
        }
        finally
        {
            await stop.CancelAsync();
            await ((Task)serving).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public Task AwaitLoginAsync(CancellationToken cancel) => Within.HoldsAsync(BootLimit, $"The boot of {login}",
        async token => (await Ssh("true").TryRunAsync(token)).ExitCode == 0, cancel);

    Command Ssh(string command) => In(guest, "ssh", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
        "-o", "ConnectTimeout=2", login, command);

    static Command In(string network, params string[] words) =>
        new("nsenter", [$"--net={network}", "--", .. words]) { Timeout = SendLimit };
}
