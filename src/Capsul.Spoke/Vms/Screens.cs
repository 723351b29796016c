using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>
/// The screens that somebody watches. Each viewer has a connection of its own to QEMU, which sends a viewer the next
/// picture only when it has taken the last. So nothing is dropped, and who does not keep up sees fewer pictures. Bytes
/// are passed on as they are: what is in them is between QEMU and the browser.
/// </summary>
public sealed class Screens(IHypervisor hypervisor, TimeProvider time)
{
    /// <summary>VMs whose screen is being opened: one that hangs must not hold many calls to libvirt.</summary>
    readonly ConcurrentDictionary<string, bool> opening = new(StringComparer.Ordinal);

    /// <summary>Opens a screen until the view is disposed, or the VM is turned off.</summary>
    /// <exception cref="HypervisorException">It cannot be opened.</exception>
    public async Task<IGuestView> OpenAsync(string vm, CancellationToken cancel)
    {
        if (!opening.TryAdd(vm, true))
            throw new HypervisorException("Its screen is being opened already. Try again in a moment.", final: false);
        try
        {
            return new ScreenView(await hypervisor.OpenScreenAsync(vm, cancel), time);
        }
        finally
        {
            opening.TryRemove(vm, out _);
        }
    }
}

/// <summary>One viewer of a screen.</summary>
sealed class ScreenView(Line line, TimeProvider time) : IGuestView
{
    /// <summary>
    /// Most of a screen that a viewer gets. A whole picture of 1280 × 800 pixels that does not compress has 4 MB.
    /// </summary>
    const int BytesPerSecond = 4 << 20;

    /// <summary>QEMU always reads, unless it hangs.</summary>
    static readonly TimeSpan TypeLimit = TimeSpan.FromSeconds(10);

    readonly Pace pace = new(BytesPerSecond, time);

    public string WhenEnded => "The screen was closed, most likely because the capsul was turned off.";

    public async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync([EnumeratorCancellation] CancellationToken cancel)
    {
        while (true)
        {
            var part = await ReadPartAsync(cancel);
            if (part.Length == 0) yield break;
            await pace.SpendAsync(part.Length, cancel);
            yield return part;
        }
    }

    async Task<ReadOnlyMemory<byte>> ReadPartAsync(CancellationToken cancel)
    {
        try
        {
            var read = await line.Input.ReadAsync(cancel);
            var part = read.Buffer.Slice(0, Math.Min(read.Buffer.Length, StreamLimits.ChunkBytes));
            var copy = new byte[part.Length];
            System.Buffers.BuffersExtensions.CopyTo(part, copy);
            line.Input.AdvanceTo(part.End);
            return copy;
        }
        catch (IOException)
        {
            // QEMU has gone.
            return default;
        }
    }

    public async Task TypeAsync(ReadOnlyMemory<byte> keys, CancellationToken cancel)
    {
        using var limit = new CancellationTokenSource(TypeLimit, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, cancel);
        try
        {
            await line.Output.WriteAsync(keys, both.Token);
        }
        catch (OperationCanceledException error) when (!cancel.IsCancellationRequested)
        {
            throw new HypervisorException("The screen does not take what is typed.", final: false, error);
        }
        catch (Exception error) when (error is IOException or InvalidOperationException)
        {
            throw new HypervisorException(WhenEnded, final: false, error);
        }
    }

    public ValueTask DisposeAsync() => line.DisposeAsync();
}
