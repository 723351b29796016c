namespace Capsul.Wire;

/// <summary>How large the parts of a transfer may be. Both ends and the Hub between them check it.</summary>
public static class TransferLimits
{
    /// <summary>Data in one message, bytes.</summary>
    public const int ChunkBytes = 256 << 10, MaxChunkBytes = 1 << 20;

    const long MaxKernelBytes = 1L << 28, MaxInitrdBytes = 1L << 30;

    /// <summary>The kernel's own limit on x86 (COMMAND_LINE_SIZE).</summary>
    const int MaxCommandLineChars = 2048;

    /// <summary>A qcow2 file of a full disk is larger than the disk by its tables: less than a thirtieth.</summary>
    public static long MaxDiskBytes(int diskGb) => ((long)diskGb << 30) / 32 * 33 + (64 << 20);

    public static bool IsSound(TransferHeader header, int diskGb) =>
        header.DiskBytes > 0 && header.DiskBytes <= MaxDiskBytes(diskGb)
        && header.KernelBytes is >= 0 and <= MaxKernelBytes && header.InitrdBytes is >= 0 and <= MaxInitrdBytes
        && header.CommandLine.Length <= MaxCommandLineChars && header.CommandLine.All(c => c is >= ' ' and <= '~');
}
