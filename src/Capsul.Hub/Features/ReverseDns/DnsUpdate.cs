using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;

namespace Capsul.Hub.Features.ReverseDns;

/// <summary>
/// Tells the DNS server the name of an address: a dynamic update (RFC 2136), signed with a key that both know (RFC
/// 8945), sent by ISC's nsupdate. The server decides which zone it belongs to, and whether the key may change it.
/// </summary>
public static class DnsUpdate
{
    /// <summary>nsupdate gives up after this many seconds; the second limit is for nsupdate itself.</summary>
    const int Seconds = 10;

    /// <summary>Name of the PTR record of an address (RFC 1035, 3.5; RFC 3596, 2.5), with the final dot.</summary>
    public static string PointerOf(IPAddress address)
    {
        var bytes = address.GetAddressBytes();
        return address.AddressFamily == AddressFamily.InterNetwork
            ? $"{string.Join('.', bytes.Reverse())}.in-addr.arpa."
            : $"{string.Join('.', Convert.ToHexStringLower(bytes).Reverse())}.ip6.arpa.";
    }

    /// <summary>
    /// The address has this name and no other from then on, whatever was there before: telling it again changes
    /// nothing.
    /// </summary>
    /// <param name="name">Empty: none.</param>
    /// <returns>Why the server has not taken it; empty: it has.</returns>
    public static async Task<string> SendAsync(
        Settings settings, IPAddress address, string name, CancellationToken cancel)
    {
        // By TCP, which nobody can answer in the server's place, and where no answer is lost on the way.
        var program = new Command("nsupdate", "-v", "-t", $"{Seconds}", "-r", "1")
        {
            Input = Script(settings, address, name),
            Timeout = TimeSpan.FromSeconds(2 * Seconds),
        };
        try
        {
            var result = await program.TryRunAsync(cancel);
            return result.ExitCode == 0 ? "" : result.LastLine is { Length: > 0 } line ? line
                : $"nsupdate failed (exit code {result.ExitCode})";
        }
        catch (ProblemException error)
        {
            return error.Problem.Message;
        }
    }

    /// <summary>Standard input of nsupdate(1): the key is not in the list of processes then.</summary>
    static string Script(Settings settings, IPAddress address, string name)
    {
        var (algorithm, key, secret) = settings.DnsKey!.Value;
        var pointer = PointerOf(address);
        return $"server {settings.DnsServer} {settings.DnsPort}\n"
            + $"key {algorithm}:{key} {secret}\n"
            + $"update delete {pointer} PTR\n"
            + (name.Length > 0 ? $"update add {pointer} {settings.DnsTtl} PTR {name}.\n" : "")
            + "send\n";
    }
}
