using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>Streams: what is in them is for the person who asked for it; only kinds and sizes count here.</summary>
public static partial class Intake
{
    /// <summary>Checks a Spoke's next message after its hello: data, or the end.</summary>
    /// <exception cref="RpcException">It is malformed, or not its turn.</exception>
    public static StreamMessage Check(StreamMessage message)
    {
        Must(message.BodyCase is StreamMessage.BodyOneofCase.Data or StreamMessage.BodyOneofCase.End
            or StreamMessage.BodyOneofCase.Finished,
            "a message of a stream came out of turn");
        Must(message.Data.Length <= StreamLimits.ChunkBytes, "a message of a stream is too long");
        if (message.End is { } end) end.Problem = Line(end.Problem, MaxTextChars);
        return message;
    }
}
