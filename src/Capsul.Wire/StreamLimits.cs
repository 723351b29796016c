namespace Capsul.Wire;

/// <summary>How much a message of a stream may carry. Both ends check it.</summary>
public static class StreamLimits
{
    /// <summary>Data in one message, bytes: enough for a screen full of text.</summary>
    public const int ChunkBytes = 16 << 10;
}
