namespace Capsul.Wire;

/// <summary>How much a message of a stream may carry. Both ends check it.</summary>
public static class StreamLimits
{
    /// <summary>Data in one message, bytes: enough for a screen full of text.</summary>
    public const int ChunkBytes = 16 << 10;

    /// <summary>A password that a guest's agent is to set.</summary>
    public const int MinPasswordChars = 12, MaxPasswordChars = 64;

    /// <summary>Letters, digits and hyphens: nothing that a shell or chpasswd could take for something else.</summary>
    public static bool IsPassword(string text) =>
        text.Length is >= MinPasswordChars and <= MaxPasswordChars
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c == '-');
}
