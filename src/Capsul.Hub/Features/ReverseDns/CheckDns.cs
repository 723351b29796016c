using System.Net.Sockets;
using Capsul.Foundation;

namespace Capsul.Hub.Features.ReverseDns;

/// <summary>Whether the DNS server can be told the names of addresses. Changes nothing.</summary>
public static class CheckDns
{
    const string What = "reverse DNS";

    static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    /// <returns>None, if addresses get no names here.</returns>
    public static async Task<IReadOnlyList<Finding>> RunAsync(Settings settings, CancellationToken cancel)
    {
        if (settings.DnsServer is not { } server) return [];
        var at = $"{server}, port {settings.DnsPort}";
        try
        {
            await new Command("nsupdate", "-V").RunAsync(cancel);
            using var client = new TcpClient();
            await client.ConnectAsync(server, settings.DnsPort, cancel).AsTask().WaitAsync(Limit, cancel);
            return [new(Verdict.Ok, What, $"{at} accepts connections; names are updated with the key "
                + settings.DnsKey!.Value.Name)];
        }
        catch (ProblemException error)
        {
            return [new(Verdict.Fail, What, $"{error.Problem.Message} Install it: apt-get install bind9-dnsutils")];
        }
        catch (Exception error) when (error is SocketException or TimeoutException)
        {
            return [new(Verdict.Fail, What,
                $"{at} does not accept connections: {error.Message.TrimEnd('.')}. See CAPSUL_DNS_SERVER")];
        }
    }
}
