using System.Net.Sockets;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Serial consoles. QEMU listens on a unix socket that only root can reach, and on nothing else.</summary>
public sealed partial class Libvirt
{
    /// <summary>Where QEMU sees the sockets. Short: a unix socket's path has at most 107 characters.</summary>
    string SocketsInside => Private ? "/run/libvirt/consoles" : SocketsFolder;

    string SocketsFolder => Path.Combine(Sandbox.RunFolder(settings), "consoles");

    string ConsoleSocketInside(string id) => $"{SocketsInside}/{id}.sock";

    string ConsoleSocket(string id) => Path.Combine(SocketsFolder, $"{id}.sock");

    const int AgentSeconds = 5;

    public Task SetPasswordAsync(string id, string user, string password, CancellationToken cancel) =>
        AskAgentAsync(id, "set a password in", d => virDomainSetUserPassword(d, user, password, 0), cancel);

    public Task SetKeysAsync(string id, string user, IReadOnlyList<string> keys, CancellationToken cancel) =>
        AskAgentAsync(id, "change the keys of",
            d => virDomainAuthorizedSSHKeysSet(d, user, [.. keys], (uint)keys.Count, 0), cancel);

    async Task AskAgentAsync(string id, string what, Func<DomainHandle, int> ask, CancellationToken cancel)
    {
        Require(id);
        await libvirt.CallAsync($"{what} {id}", Slow, connect =>
        {
            using var domain = Lookup(connect, id) ?? throw new HypervisorException("It is off.", final: true);
            // The agent is the guest's: libvirt would wait for its answer forever.
            Check(virDomainAgentSetResponseTimeout(domain, AgentSeconds, 0));
            if (ask(domain) >= 0) return true;
            var error = LastError();
            if (error.Code is not (LibvirtError.AgentUnresponsive or LibvirtError.AgentUnsynced)) throw error;
            throw new HypervisorException("No guest agent answers in it: it may still be booting, or "
                + "qemu-guest-agent is not installed.", final: true, error);
        }, cancel);
    }

    public async Task<Line> OpenConsoleAsync(string id, CancellationToken cancel)
    {
        Require(id);
        if (await FindAsync(id, cancel) is not (DomainPower.On or DomainPower.Paused))
            throw new HypervisorException("It is off.", final: true);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(ConsoleSocket(id)), cancel);
            return Line.Of(new NetworkStream(socket, ownsSocket: true));
        }
        catch (SocketException error) when (error.SocketErrorCode is SocketError.ConnectionRefused
            or SocketError.AddressNotAvailable || !File.Exists(ConsoleSocket(id)))
        {
            socket.Dispose();
            throw new HypervisorException("Its console cannot be opened before it is restarted: it was started by a "
                + "version of Capsul without consoles.", final: true, error);
        }
        catch (SocketException error)
        {
            socket.Dispose();
            throw new HypervisorException($"Its console does not answer: {error.Message}.", final: false, error);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
