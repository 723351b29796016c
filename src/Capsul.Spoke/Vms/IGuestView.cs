using Capsul.Spoke.Hypervisor;

namespace Capsul.Spoke.Vms;

/// <summary>Somebody who sees what a guest shows, on its console or its screen, and may type.</summary>
public interface IGuestView : IAsyncDisposable
{
    /// <summary>What to tell who watches when it ends by itself.</summary>
    string WhenEnded { get; }

    /// <summary>
    /// What the guest shows, in parts of at most <see cref="Wire.StreamLimits.ChunkBytes"/>; the end: the VM was turned
    /// off.
    /// </summary>
    IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync(CancellationToken cancel);

    /// <summary>Passes on what is typed.</summary>
    /// <exception cref="HypervisorException">It is not taken, or the VM is off.</exception>
    Task TypeAsync(ReadOnlyMemory<byte> keys, CancellationToken cancel);
}
