namespace Capsul.Wire;

/// <summary>Numbers that both ends must agree on.</summary>
public static class Protocol
{
    /// <summary>
    /// Version of the link. One apart works, more is refused with a sentence. 2: reports name the epoch that they
    /// answer, and say that a guest stopped itself.
    /// </summary>
    public const int Version = 2;

    /// <summary>How often a Spoke says that it is there.</summary>
    public const int HeartbeatSeconds = 5;

    /// <summary>After this much silence what a Spoke holds is unknown.</summary>
    public const int SilentSeconds = 30;

    /// <summary>Largest message either way, bytes: an inventory of some thousand VMs.</summary>
    public const int MaxMessageBytes = 8 << 20;

    /// <summary>Most of a console that a report carries, bytes.</summary>
    public const int ConsoleTailBytes = 4096;
}
