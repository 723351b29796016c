using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Features.Ports;

/// <summary>One port of the Hub that leads to one of a VM.</summary>
sealed partial class PortListener : IAsyncDisposable
{
    /// <summary>Connections at a time: to one port, and of one address to it.</summary>
    const int MaxConnections = 256, MaxOfAddress = 32;

    const int BufferBytes = 16 << 10;

    static readonly TimeSpan AcceptPause = TimeSpan.FromSeconds(1), Idle = TimeSpan.FromMinutes(30);

    readonly PortRow row;
    readonly TcpListener socket;
    readonly Db db;
    readonly IHostPorts hosts;
    readonly TimeProvider time;
    readonly ILogger log;
    readonly CancellationTokenSource stop = new();
    readonly SemaphoreSlim places = new(MaxConnections);
    readonly ConcurrentDictionary<IPAddress, int> addresses = new();
    readonly Task running;
    long bytesIn, bytesOut;

    public PortListener(
        PortRow row, TcpListener socket, Db db, IHostPorts hosts, TimeProvider time, ILogger log)
    {
        (this.row, this.socket, this.db, this.hosts, this.time, this.log) = (row, socket, db, hosts, time, log);
        running = AcceptAsync();
    }

    public (string Vm, int VmPort) Target => (row.Vm, row.VmPort);

    /// <summary>How many bytes there were since it was last asked.</summary>
    public (long In, long Out) TakeBytes() =>
        (Interlocked.Exchange(ref bytesIn, 0), Interlocked.Exchange(ref bytesOut, 0));

    /// <summary>They could not be saved.</summary>
    public void ReturnBytes((long In, long Out) count)
    {
        Interlocked.Add(ref bytesIn, count.In);
        Interlocked.Add(ref bytesOut, count.Out);
    }

    async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                await places.WaitAsync(stop.Token);
                _ = ServeAsync(await AcceptOneAsync());
            }
        }
        catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException or SocketException)
        {
            // It was closed.
        }
    }

    async Task<TcpClient> AcceptOneAsync()
    {
        while (true)
        {
            try
            {
                return await socket.AcceptTcpClientAsync(stop.Token);
            }
            catch (SocketException error) when (!stop.IsCancellationRequested)
            {
                Log.NotAccepted(log, row.Port, error.Message);
                await Task.Delay(AcceptPause, time, stop.Token);
            }
        }
    }

    async Task ServeAsync(TcpClient client)
    {
        using var owned = client;
        var from = (client.Client.RemoteEndPoint as IPEndPoint)?.Address ?? IPAddress.None;
        // Only for counting: a rule may name single addresses.
        var address = Limits.Neighbourhood(from);
        try
        {
            if (addresses.AddOrUpdate(address, 1, (_, n) => n + 1) > MaxOfAddress) return;
            client.NoDelay = true;
            // A client that has vanished is noticed.
            client.Client.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            var target = await db.FindAsync<PortTargetRow>(PortSql.Target, new { port = row.Port }, stop.Token);
            if (target is not { Observed: "on" } || (target.Vm, target.VmPort) != Target
                || !FirewallState.Read(target.Policy, target.Rules).Allows(target.VmPort, from)) return;
            var connected = await hosts.ConnectAsync(target.Host, row.Vm, row.VmPort, stop.Token);
            if (connected.Refused(out var problem, out var inside))
            {
                Log.Broken(log, row.Port, problem.Message);
                return;
            }
            await using (inside) await CarryAsync(client, inside);
        }
        catch (Exception error) when (error is IOException or SocketException or OperationCanceledException
            or NpgsqlException or ObjectDisposedException)
        {
            Log.Broken(log, row.Port, error.Message);
            // Reset: a clean end would say that this was all.
            client.Client.LingerState = new LingerOption(true, 0);
        }
        finally
        {
            if (addresses.AddOrUpdate(address, 0, (_, n) => n - 1) <= 0)
                addresses.TryRemove(KeyValuePair.Create(address, 0));
            if (!stop.IsCancellationRequested) places.Release();
        }
    }

    /// <summary>Until both sides have finished, one breaks, or nothing happens for long.</summary>
    async Task CarryAsync(TcpClient client, IHostPort inside)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
        end.CancelAfter(Idle);
        var outside = client.GetStream();
        var toVm = CopyAsync(outside, inside.Bytes, isIn: true, end);
        var fromVm = CopyAsync(inside.Bytes, outside, isIn: false, end);
        try
        {
            if (await Task.WhenAny(toVm, fromVm) == toVm)
            {
                await toVm;
                await inside.FinishAsync(end.Token);
                await fromVm;
            }
            else
            {
                await fromVm;
                client.Client.Shutdown(SocketShutdown.Send);
                await toVm;
            }
        }
        finally
        {
            await end.CancelQuietlyAsync();
            await Task.WhenAll(toVm, fromVm).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    async Task CopyAsync(Stream from, Stream to, bool isIn, CancellationTokenSource end)
    {
        var buffer = new byte[BufferBytes];
        while (true)
        {
            var count = await from.ReadAsync(buffer, end.Token);
            if (count == 0) return;
            end.CancelAfter(Idle);
            Interlocked.Add(ref isIn ? ref bytesIn : ref bytesOut, count);
            await to.WriteAsync(buffer.AsMemory(0, count), end.Token);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelQuietlyAsync();
        socket.Dispose();
        await running;
    }

    static partial class Log
    {
        [LoggerMessage(341, LogLevel.Debug, "A connection through port {Port} ended: {Why}")]
        public static partial void Broken(ILogger log, int port, string why);

        [LoggerMessage(342, LogLevel.Warning, "Port {Port} could not accept a connection: {Why}; retrying")]
        public static partial void NotAccepted(ILogger log, int port, string why);
    }
}
