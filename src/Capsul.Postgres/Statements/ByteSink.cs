using System.Buffers;

namespace Capsul.Postgres.Statements;

/// <summary>The reader of the output has closed it: <c>| head -1</c>.</summary>
public sealed class ClosedOutputException(IOException inner) : Exception(
    "The reader of the output has closed it.", inner);

/// <summary>
/// One reused buffer in front of a stream; rows are written into it as bytes, without creating strings.
/// </summary>
public sealed class ByteSink(Stream stream) : IBufferWriter<byte>
{
    /// <summary>Size of one write; the capacity of a pipe.</summary>
    const int Size = 1 << 16;

    byte[] buffer = new byte[Size];
    int used;

    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > Size)
        {
            Flush();
            WriteOut(bytes);
            return;
        }
        bytes.CopyTo(Free(bytes.Length));
        used += bytes.Length;
    }

    public void Write(ReadOnlySpan<char> text)
    {
        while (text.Length > 0)
        {
            var some = text[..Math.Min(text.Length, Size / 4)];
            // Do not split a surrogate pair.
            if (some.Length < text.Length && char.IsHighSurrogate(some[^1])) some = some[..^1];
            used += System.Text.Encoding.UTF8.GetBytes(some, Free(some.Length * 3));
            text = text[some.Length..];
        }
    }

    /// <summary>Space for at least this many bytes; <see cref="Advance"/> sets how many were used.</summary>
    public Span<byte> Free(int least) => Room(least).AsSpan();

    /// <summary>The same as an array segment, for readers that need one.</summary>
    public ArraySegment<byte> Room(int least)
    {
        if (buffer.Length - used < least)
        {
            Flush();
            if (buffer.Length < least) buffer = new byte[least];
        }
        return new ArraySegment<byte>(buffer, used, buffer.Length - used);
    }

    public void Advance(int count) => used += count;

    Memory<byte> IBufferWriter<byte>.GetMemory(int sizeHint) => Room(Math.Max(sizeHint, 1));

    Span<byte> IBufferWriter<byte>.GetSpan(int sizeHint) => Free(Math.Max(sizeHint, 1));

    /// <exception cref="ClosedOutputException">The reader has closed the output.</exception>
    public void Flush()
    {
        if (used == 0) return;
        var count = used;
        used = 0;
        WriteOut(buffer.AsSpan(0, count));
        // Release the memory of one huge value.
        if (buffer.Length > 16 * Size) buffer = new byte[Size];
    }

    void WriteOut(ReadOnlySpan<byte> bytes)
    {
        try
        {
            stream.Write(bytes);
            stream.Flush();
        }
        catch (IOException error) when (error.HResult == BrokenPipe)
        {
            throw new ClosedOutputException(error);
        }
    }

    /// <summary>EPIPE; .NET returns the errno as HResult.</summary>
    const int BrokenPipe = 32;
}
