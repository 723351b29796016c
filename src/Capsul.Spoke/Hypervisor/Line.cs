using System.IO.Pipelines;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Bytes both ways, to and from something on this host. It ends when the other side does.</summary>
/// <param name="input">What the other side sends.</param>
/// <param name="output">What it is sent.</param>
/// <param name="held">Disposed with it; null: nothing.</param>
public sealed class Line(PipeReader input, PipeWriter output, IDisposable? held = null) : IDuplexPipe, IAsyncDisposable
{
    public PipeReader Input => input;

    public PipeWriter Output => output;

    public static Line Of(Stream stream) => new(
        PipeReader.Create(stream, new StreamPipeReaderOptions(leaveOpen: true)),
        PipeWriter.Create(stream, new StreamPipeWriterOptions(leaveOpen: true)), stream);

    /// <summary>Two ends: what one of them is sent, the other one reads.</summary>
    public static (Line Here, Line There) Pair()
    {
        var (up, down) = (new Pipe(), new Pipe());
        return (new Line(down.Reader, up.Writer), new Line(up.Reader, down.Writer));
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await output.CompleteAsync();
            await input.CompleteAsync();
        }
        catch (IOException)
        {
            // What was not sent yet cannot be any more.
        }
        held?.Dispose();
    }
}
