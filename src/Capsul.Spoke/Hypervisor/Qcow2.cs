using System.Buffers.Binary;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The header of a qcow2 file (https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt), as far as it
/// says whether the file stands alone. Read before any program opens the file: a file of another host could name files
/// of this one, as its backing file or as its data file.
/// </summary>
static class Qcow2
{
    const uint Magic = 0x514649FB;
    const int HeaderBytes = 104, NameOffset = 8, NameLength = 16, SizeOffset = 24, FeaturesOffset = 72;

    /// <summary>
    /// Incompatible features that change nothing here: dirty, a compression type, extended L2 entries.
    /// </summary>
    const ulong Harmless = (1 << 0) | (1 << 3) | (1 << 4);

    /// <summary>Why the file is not a disk of this size that stands alone; null if it is.</summary>
    public static string? Check(ReadOnlySpan<byte> start, long sizeBytes)
    {
        if (start.Length < HeaderBytes || BinaryPrimitives.ReadUInt32BigEndian(start) != Magic
            || BinaryPrimitives.ReadUInt32BigEndian(start[4..]) != 3)
            return "it is not a qcow2 file of version 3";
        if (BinaryPrimitives.ReadUInt64BigEndian(start[NameOffset..]) != 0
            || BinaryPrimitives.ReadUInt32BigEndian(start[NameLength..]) != 0)
            return "it is based on another file";
        if ((BinaryPrimitives.ReadUInt64BigEndian(start[FeaturesOffset..]) & ~Harmless) != 0)
            return "its data is in another file, or it is damaged";
        var size = BinaryPrimitives.ReadUInt64BigEndian(start[SizeOffset..]);
        return size == (ulong)sizeBytes ? null : $"it has {size} bytes instead of {sizeBytes}";
    }

    public static async Task<string?> CheckAsync(string file, long sizeBytes, CancellationToken cancel)
    {
        var start = new byte[HeaderBytes];
        await using var stream = File.OpenRead(file);
        var read = await stream.ReadAtLeastAsync(start, HeaderBytes, throwOnEndOfStream: false, cancel);
        return Check(start.AsSpan(0, read), sizeBytes);
    }
}
