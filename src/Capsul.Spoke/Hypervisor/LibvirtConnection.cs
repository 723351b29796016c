using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The connection to one libvirt daemon. A daemon can crash or hang at any moment, so every call runs on its own thread
/// with a time limit: the caller gets its result, libvirt's error, or <see cref="HypervisorException.Unreachable"/>,
/// always in time. A broken connection is dropped and the next call opens a new one. A hung call's thread stays until
/// keepalive (25 s) closes the connection.
/// </summary>
/// <param name="daemon">Makes sure that the daemon runs, if it is ours, and returns the URI to open.</param>
sealed class LibvirtConnection(
    Func<CancellationToken, Task<string>> daemon, ChannelWriter<string> changes, TimeProvider time, ILogger log)
    : IAsyncDisposable
{
    /// <summary>Opening may include the daemon's first probe of QEMU (measured: 1 to 12 s without a cache).</summary>
    static readonly TimeSpan OpenLimit = TimeSpan.FromSeconds(15);

    /// <summary>virDomainEventID: lifecycle.</summary>
    const int LifecycleEvent = 0;

    /// <summary>
    /// virDomainEventType, and virDomainEventShutdownDetailType: QEMU got a signal, as when the host shuts down.
    /// </summary>
    const int StartedEvent = 2, ShutdownEvent = 6, ShutdownByHost = 2;

    /// <summary>Domains whose QEMU was terminated by a signal since they were last started.</summary>
    readonly ConcurrentDictionary<string, bool> endedByHost = new(StringComparer.Ordinal);

    readonly SemaphoreSlim gate = new(1, 1);
    Session? current;

    sealed record Session(ConnectHandle Handle, int Callback, GCHandle Owner);

    /// <summary>Runs one call to the daemon.</summary>
    /// <param name="what">What is attempted, for the error message: "start capsul-…".</param>
    /// <exception cref="HypervisorException">Unreachable when the daemon died, hung or is not running; otherwise
    /// libvirt's own message.</exception>
    public async Task<T> CallAsync<T>(
        string what, TimeSpan limit, Func<ConnectHandle, T> work, CancellationToken cancel)
    {
        var session = await SessionAsync(cancel);
        try
        {
            return await OnThread(() => work(session.Handle)).WaitAsync(limit, time, cancel);
        }
        catch (TimeoutException error)
        {
            await DropAsync(session);
            throw Unreachable($"libvirt did not respond within {limit.TotalSeconds:0} s ({what}).", error);
        }
        catch (LibvirtError error) when (virConnectIsAlive(session.Handle) != 1)
        {
            await DropAsync(session);
            throw Unreachable($"The connection to libvirt was lost ({what}): {error.Message}.", error);
        }
        catch (LibvirtError error)
        {
            throw new HypervisorException($"libvirt could not {what}: {error.Message}.", final: false, error);
        }
    }

    /// <summary>
    /// Whether a domain's QEMU was terminated from outside. Libvirt sends the event before the state changes.
    /// </summary>
    public bool EndedByHost(string name) => endedByHost.ContainsKey(name);

    void Heard(string name, int what, int detail)
    {
        if (what == ShutdownEvent && detail == ShutdownByHost) endedByHost[name] = true;
        else if (what == StartedEvent) endedByHost.TryRemove(name, out _);
        changes.TryWrite(name);
    }

    public async ValueTask DisposeAsync()
    {
        await gate.WaitAsync();
        if (current is { } session) Close(session);
        current = null;
    }

    async Task<Session> SessionAsync(CancellationToken cancel)
    {
        // Others are opening it, one after another: whoever waits so long would only be the next.
        if (!await gate.WaitAsync(OpenLimit, cancel))
            throw Unreachable($"libvirt did not respond within {OpenLimit.TotalSeconds:0} s.");
        try
        {
            if (current is { } session)
            {
                if (virConnectIsAlive(session.Handle) == 1) return session;
                Close(session);
                current = null;
            }
            var uri = await daemon(cancel);
            return current = await InTimeAsync(OnThread(() => Open(uri)), cancel);
        }
        catch (Exception error) when (error is LibvirtError or TimeoutException)
        {
            throw Unreachable($"libvirt does not respond: {error.Message}.", error);
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>
    /// A daemon that hung completes, when it goes on, every connection that was begun meanwhile: nobody uses them.
    /// </summary>
    async Task<Session> InTimeAsync(Task<Session> opening, CancellationToken cancel)
    {
        try
        {
            return await opening.WaitAsync(OpenLimit, time, cancel);
        }
        finally
        {
            if (!opening.IsCompleted) _ = CloseLateAsync(opening);
        }
    }

    async Task CloseLateAsync(Task<Session> opening)
    {
        try
        {
            Close(await opening);
        }
        catch (LibvirtError)
        {
            // It failed late: nothing is open.
        }
    }

    async Task DropAsync(Session session)
    {
        await gate.WaitAsync();
        try
        {
            if (current != session) return;
            current = null;
            Close(session);
        }
        finally
        {
            gate.Release();
        }
    }

    unsafe Session Open(string uri)
    {
        Initialize();
        var handle = Check(virConnectOpen(uri));
        var owner = GCHandle.Alloc(this);
        try
        {
            Check(virConnectSetKeepAlive(handle, 5, 5));
            var callback = Check(
                virConnectDomainEventRegisterAny(handle, 0, LifecycleEvent, &OnLifecycle, GCHandle.ToIntPtr(owner), 0));
            Log.Connected(log, uri);
            return new Session(handle, callback, owner);
        }
        catch
        {
            owner.Free();
            handle.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Closes a connection on a background thread: unregistering the callback calls the daemon, which may hang. The
    /// registration holds a reference to the connection, so without this it would never close. The owner's handle is
    /// never freed (a few bytes per broken connection): an event may still be in flight, and would use it after free.
    /// </summary>
    void Close(Session session) => _ = OnThread(() =>
    {
        if (virConnectDomainEventDeregisterAny(session.Handle, session.Callback) < 0)
            Log.ClosingBroken(log, LastError().Message);
        session.Handle.Dispose();
        return true;
    });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnLifecycle(nint connect, nint domain, int what, int detail, nint opaque)
    {
        if (Marshal.PtrToStringUTF8(virDomainGetName(domain)) is { } name && Libvirt.IsOurs(name))
            ((LibvirtConnection)GCHandle.FromIntPtr(opaque).Target!).Heard(name, what, detail);
        return 0;
    }

    static HypervisorException Unreachable(string message, Exception? inner = null) =>
        new(message, final: false, inner) { Unreachable = true };

    static Task<T> OnThread<T>(Func<T> work) =>
        Task.Factory.StartNew(work, CancellationToken.None,
            TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);
}
