using Capsul.Wire;

namespace Capsul.Spoke.Hypervisor;

/// <summary>A disk that is to go to another host, with the kernel that boots it, if it needs one.</summary>
/// <param name="Header">What the content consists of.</param>
/// <param name="ReadAsync">Opens the content, from the beginning.</param>
public sealed record DiskExport(
    TransferHeader Header, Func<CancellationToken, IAsyncEnumerable<ReadOnlyMemory<byte>>> ReadAsync);

/// <summary>A disk that arrives from another host, which is not trusted.</summary>
/// <param name="Header">What the content consists of; sizes are in range.</param>
/// <param name="Content">The content. Enumerating it throws if the transfer breaks off.</param>
/// <param name="Sha256">What the sender says that its checksum is, lower-case hex; known after the content.</param>
public sealed record IncomingDisk(
    TransferHeader Header, IAsyncEnumerable<ReadOnlyMemory<byte>> Content, Func<string> Sha256)
{
    /// <summary>Length of the content.</summary>
    public long Bytes => Header.DiskBytes + Header.KernelBytes + Header.InitrdBytes;
}
