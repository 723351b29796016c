using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Features.Ports;

/// <summary>
/// The active Hub listens on the ports of its own that are open, and carries each connection to a host over a stream.
/// So VMs of a machine without any open port are reached from outside.
/// </summary>
public sealed partial class PortListeners(
    Db db, Fence fence, Listener listener, IHostPorts hosts, Settings settings, TimeProvider time,
    ILogger<PortListeners> log) : IActingWork
{
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10), Between = TimeSpan.FromMilliseconds(200);

    readonly Dictionary<int, PortListener> open = [];
    readonly ConcurrentDictionary<int, string> refused = new();

    public string Name => "Ports of VMs";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        if (settings.HubPorts is null) return;
        // Whoever opens or closes one has the VM's host told.
        using var changed = listener.Subscribe(Listener.Hosts);
        try
        {
            while (true)
            {
                await TryAsync(epoch, cancel);
                await changed.WaitAsync(LookAgain, cancel);
                await Task.Delay(Between, time, cancel);
            }
        }
        finally
        {
            foreach (var one in open.Values) await one.DisposeAsync();
            open.Clear();
        }
    }

    /// <summary>Without a database what is open stays open: a failover must not cut connections.</summary>
    async Task TryAsync(long epoch, CancellationToken cancel)
    {
        try
        {
            await LookAsync(cancel);
            await SaveAsync(epoch, cancel);
        }
        catch (NpgsqlException error)
        {
            Log.NotLooked(log, error.Message);
        }
    }

    /// <summary>Opens and closes what has changed.</summary>
    async Task LookAsync(CancellationToken cancel)
    {
        var wanted = (await db.ListAsync<PortRow>(PortSql.OfHub, null, cancel)).ToDictionary(p => p.Port);
        foreach (var (port, one) in open.Where(o => !wanted.TryGetValue(o.Key, out var row)
            || (row.Vm, row.VmPort) != o.Value.Target).ToList())
        {
            open.Remove(port);
            await one.DisposeAsync();
        }
        foreach (var row in wanted.Values.Where(w => !open.ContainsKey(w.Port))) TryOpen(row);
    }

    void TryOpen(PortRow row)
    {
        if (!(row.Port >= settings.HubPorts!.Value.First && row.Port <= settings.HubPorts.Value.Last))
        {
            // The setting was changed: the port may be anything's now. Said once.
            if (refused.TryAdd(row.Port, row.Vm))
                Log.NotOpened(log, row.Port, row.Vm, "it is not one of CAPSUL_HUB_PORTS");
            return;
        }
        try
        {
            open[row.Port] = new PortListener(row, Listen(row.Port), db, hosts, time, log);
            refused.TryRemove(row.Port, out _);
        }
        catch (SocketException error)
        {
            // Another program has it; said once.
            if (refused.TryAdd(row.Port, row.Vm)) Log.NotOpened(log, row.Port, row.Vm, error.Message);
        }
    }

    TcpListener Listen(int port)
    {
        var socket = new TcpListener(settings.HubPortsListen, port);
        // On all addresses of the machine, of either family.
        if (settings.HubPortsListen.Equals(IPAddress.IPv6Any)) socket.Server.DualMode = true;
        try
        {
            socket.Start();
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    async Task SaveAsync(long epoch, CancellationToken cancel)
    {
        var counts = open.Select(o => (Port: o.Key, Count: o.Value.TakeBytes()))
            .Where(c => c.Count is not (0, 0))
            .OrderBy(c => c.Port).ToList();
        if (counts.Count == 0) return;
        try
        {
            await fence.ExecuteAsync(epoch, PortSql.AddBytes, new
            {
                ports = counts.Select(c => c.Port).ToArray(),
                ins = counts.Select(c => c.Count.In).ToArray(),
                outs = counts.Select(c => c.Count.Out).ToArray(),
            }, cancel);
        }
        catch (NpgsqlException)
        {
            foreach (var (port, count) in counts) open[port].ReturnBytes(count);
            throw;
        }
    }

    static partial class Log
    {
        [LoggerMessage(340, LogLevel.Error, "Port {Port}, which leads to {Vm}, cannot be opened: {Why}")]
        public static partial void NotOpened(ILogger log, int port, string vm, string why);

        [LoggerMessage(343, LogLevel.Warning, "The open ports of VMs could not be compared with the database: {Why}")]
        public static partial void NotLooked(ILogger log, string why);
    }
}
