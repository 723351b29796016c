using System.Buffers;
using System.Threading.Channels;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>One viewer of a console.</summary>
public sealed class ConsoleView : IGuestView
{
    /// <summary>Parts of output that a viewer may be behind; the oldest are dropped then.</summary>
    const int MaxBehind = 64;

    readonly SerialConsole console;
    readonly Func<ConsoleView, ValueTask> leave;
    readonly Channel<ReadOnlyMemory<byte>> output = Channel.CreateBounded<ReadOnlyMemory<byte>>(
        new BoundedChannelOptions(MaxBehind) { FullMode = BoundedChannelFullMode.DropOldest });

    internal ConsoleView(SerialConsole console, Func<ConsoleView, ValueTask> leave) =>
        (this.console, this.leave) = (console, leave);

    /// <summary>What the guest prints. Completed when the VM is turned off.</summary>
    public ChannelReader<ReadOnlyMemory<byte>> Output => output.Reader;

    public string WhenEnded => "It was turned off.";

    public IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync(CancellationToken cancel) =>
        output.Reader.ReadAllAsync(cancel);

    /// <summary>Types on the console.</summary>
    /// <exception cref="HypervisorException">The guest does not read it, or the VM is off.</exception>
    public Task TypeAsync(ReadOnlyMemory<byte> keys, CancellationToken cancel) => console.TypeAsync(keys, cancel);

    internal void Show(ReadOnlyMemory<byte> part) => output.Writer.TryWrite(part);

    internal void End() => output.Writer.TryComplete();

    public ValueTask DisposeAsync() => leave(this);
}

/// <summary>The line to a guest's console, and everybody who watches it.</summary>
sealed class SerialConsole : IAsyncDisposable
{
    /// <summary>A guest that does not read its console for so long is not going to.</summary>
    static readonly TimeSpan TypeLimit = TimeSpan.FromSeconds(10);

    readonly Line line;
    readonly TimeProvider time;
    readonly CancellationTokenSource stop = new();
    readonly SemaphoreSlim typing = new(1, 1);
    readonly Lock gate = new();
    readonly List<ConsoleView> views = [];
    readonly Task reading;
    bool ended;

    public SerialConsole(Line line, TimeProvider time)
    {
        (this.line, this.time) = (line, time);
        reading = ReadAsync();
    }

    public bool HasEnded
    {
        get { lock (gate) return ended; }
    }

    public ConsoleView Add(ReadOnlyMemory<byte> history, Func<ConsoleView, ValueTask> leave)
    {
        var view = new ConsoleView(this, leave);
        lock (gate)
        {
            if (history.Length > 0) view.Show(history);
            if (ended) view.End();
            else views.Add(view);
        }
        return view;
    }

    /// <summary>True: nobody watches any more.</summary>
    public bool Remove(ConsoleView view)
    {
        lock (gate)
        {
            views.Remove(view);
            return views.Count == 0;
        }
    }

    public async Task TypeAsync(ReadOnlyMemory<byte> keys, CancellationToken cancel)
    {
        using var limit = new CancellationTokenSource(TypeLimit, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, stop.Token, cancel);
        var entered = false;
        try
        {
            await typing.WaitAsync(both.Token);
            entered = true;
            await line.Output.WriteAsync(keys, both.Token);
        }
        catch (OperationCanceledException error) when (!cancel.IsCancellationRequested)
        {
            throw new HypervisorException("The guest does not read what is typed.", final: false, error);
        }
        catch (Exception error) when (error is IOException or InvalidOperationException)
        {
            throw new HypervisorException("The console was closed.", final: false, error);
        }
        finally
        {
            if (entered) typing.Release();
        }
    }

    async Task ReadAsync()
    {
        try
        {
            while (true)
            {
                var read = await line.Input.ReadAsync(stop.Token);
                for (var left = read.Buffer; left.Length > 0;)
                {
                    var part = left.Slice(0, Math.Min(left.Length, StreamLimits.ChunkBytes)).ToArray();
                    lock (gate)
                    {
                        foreach (var view in views) view.Show(part);
                    }
                    left = left.Slice(part.Length);
                }
                line.Input.AdvanceTo(read.Buffer.End);
                if (read.IsCompleted) return;
            }
        }
        catch (Exception error) when (error is IOException or OperationCanceledException)
        {
            // The VM is off, or nobody watches.
        }
        finally
        {
            lock (gate)
            {
                ended = true;
                foreach (var view in views) view.End();
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await reading;
        await line.DisposeAsync();
        stop.Dispose();
    }
}
