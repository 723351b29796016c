using System.Globalization;
using System.Text;

namespace Capsul.Spoke.Images;

/// <summary>
/// Writes an initramfs: the "newc" form of cpio that Linux reads
/// (Documentation/driver-api/early-userspace/buffer-format.rst). All entries belong to root and have no time, so the
/// output is reproducible.
/// </summary>
sealed class CpioWriter(Stream output) : IDisposable
{
    const uint Folder = 0x4000, Regular = 0x8000, Link = 0xA000;

    readonly HashSet<string> folders = new(StringComparer.Ordinal);
    uint number;
    long written;

    /// <summary>Adds a folder, and those of its parents that were not written yet.</summary>
    public void AddFolder(string path)
    {
        if (path.Length == 0 || !folders.Add(path)) return;
        AddFolder(Parent(path));
        Entry(path, Folder | 0b111_101_101, []);
    }

    public void AddFile(string path, ReadOnlySpan<byte> content, UnixFileMode mode)
    {
        AddFolder(Parent(path));
        Entry(path, Regular | (uint)mode, content);
    }

    public void AddText(string path, string content, UnixFileMode mode = (UnixFileMode)0b110_100_100) =>
        AddFile(path, Encoding.UTF8.GetBytes(content), mode);

    public void AddLink(string path, string target)
    {
        AddFolder(Parent(path));
        Entry(path, Link | 0b111_111_111, Encoding.UTF8.GetBytes(target));
    }

    public void Dispose() => Entry("TRAILER!!!", 0, []);

    void Entry(string path, uint mode, ReadOnlySpan<byte> content)
    {
        var name = Encoding.UTF8.GetBytes(path + "\0");
        uint[] fields = [++number, mode, 0, 0, 1, 0, (uint)content.Length, 0, 0, 0, 0, (uint)name.Length, 0];
        Write(Encoding.ASCII.GetBytes(
            "070701" + string.Concat(fields.Select(f => f.ToString("x8", CultureInfo.InvariantCulture)))));
        Write(name);
        Pad();
        Write(content);
        Pad();
    }

    void Write(ReadOnlySpan<byte> bytes)
    {
        output.Write(bytes);
        written += bytes.Length;
    }

    /// <summary>Headers and contents begin at multiples of four.</summary>
    void Pad() => Write(new byte[(int)(-written & 3)]);

    static string Parent(string path) => Path.GetDirectoryName(path) ?? "";
}
