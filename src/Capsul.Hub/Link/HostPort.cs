using Capsul.Hub.Features.Ports;
using Capsul.Wire;

namespace Capsul.Hub.Link;

/// <summary>
/// A connection to a port of a VM, as bytes both ways over a stream. What one side does not take, the other cannot
/// send: at most a chunk waits here, and what the windows of HTTP/2 allow.
/// </summary>
sealed class HostPort(HostStream stream) : Stream, IHostPort
{
    ReadOnlyMemory<byte> rest;
    bool ended;

    public Stream Bytes => this;

    public string Problem => stream.Problem;

    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (rest.IsEmpty && !ended)
        {
            var next = await stream.ReadAsync(cancellationToken);
            ended = next is null or { IsEmpty: true };
            // Who reads must not take a part for the whole.
            if (next is null && !stream.HasEnded) throw new IOException("The stream broke off.");
            rest = next ?? default;
        }
        // How a VM refused it is for whoever reads.
        if (rest.IsEmpty && stream.Problem.Length > 0) throw new IOException(stream.Problem);
        var count = Math.Min(rest.Length, buffer.Length);
        rest[..count].CopyTo(buffer);
        rest = rest[count..];
        return count;
    }

    public override async ValueTask WriteAsync(
        ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        for (var from = 0; from < buffer.Length; from += StreamLimits.ChunkBytes)
            await stream.WriteAsync(
                buffer[from..Math.Min(buffer.Length, from + StreamLimits.ChunkBytes)], cancellationToken);
    }

    public Task FinishAsync(CancellationToken cancel) => stream.FinishAsync(cancel);

    public override void Flush() { }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override async ValueTask DisposeAsync()
    {
        await stream.DisposeAsync();
        await base.DisposeAsync();
    }

    protected override void Dispose(bool disposing)
    {
        // Nothing in there waits.
        if (disposing) stream.End();
        base.Dispose(disposing);
    }
}
