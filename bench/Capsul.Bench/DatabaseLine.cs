using System.Net;
using System.Net.Sockets;
using Npgsql;

namespace Capsul.Bench;

/// <summary>
/// A line from a Hub to the database that can be cut without a word: while it is cut, nothing passes in either
/// direction, and neither end is told. What was sent meanwhile arrives when it is mended, as after a network failure.
/// </summary>
sealed class DatabaseLine : IAsyncDisposable
{
    readonly TcpListener listener = new(IPAddress.Loopback, 0);
    readonly CancellationTokenSource stop = new();
    readonly UnixDomainSocketEndPoint server;
    readonly Task accepting;
    volatile TaskCompletionSource open = Opened();

    public DatabaseLine(string connectionString)
    {
        var parts = new NpgsqlConnectionStringBuilder(connectionString);
        server = new UnixDomainSocketEndPoint(Path.Combine(parts.Host!, $".s.PGSQL.{parts.Port}"));
        listener.Start();
        (parts.Host, parts.Port) = ("127.0.0.1", ((IPEndPoint)listener.LocalEndpoint).Port);
        ConnectionString = parts.ConnectionString;
        accepting = AcceptAsync();
    }

    /// <summary>Through this line.</summary>
    public string ConnectionString { get; }

    public void Cut() => open = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Mend() => open.TrySetResult();

    static TaskCompletionSource Opened()
    {
        var source = new TaskCompletionSource();
        source.SetResult();
        return source;
    }

    async Task AcceptAsync()
    {
        try
        {
            while (true) _ = CarryAsync(await listener.AcceptSocketAsync(stop.Token));
        }
        catch (OperationCanceledException)
        {
            // Closed.
        }
    }

    async Task CarryAsync(Socket near)
    {
        using (near)
        using (var far = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        using (var both = CancellationTokenSource.CreateLinkedTokenSource(stop.Token))
        {
            try
            {
                await open.Task.WaitAsync(both.Token);
                await far.ConnectAsync(server, both.Token);
                await Task.WhenAny(CopyAsync(near, far, both.Token), CopyAsync(far, near, both.Token));
            }
            catch (Exception error) when (error is SocketException or OperationCanceledException)
            {
                // One of the two ends has closed, which closes this connection.
            }
            await both.CancelAsync();
        }
    }

    async Task CopyAsync(Socket from, Socket to, CancellationToken cancel)
    {
        var buffer = new byte[64 * 1024];
        try
        {
            while (await from.ReceiveAsync(buffer, cancel) is > 0 and var count)
            {
                await open.Task.WaitAsync(cancel);
                for (var sent = 0; sent < count;)
                    sent += await to.SendAsync(buffer.AsMemory(sent, count - sent), cancel);
            }
            // An end does not pass a line that is cut, either.
            await open.Task.WaitAsync(cancel);
        }
        catch (SocketException)
        {
            await open.Task.WaitAsync(cancel);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await accepting;
        listener.Dispose();
        stop.Dispose();
    }
}
