namespace Capsul.Wire;

/// <summary>Numbers that both ends must agree on.</summary>
public static class Protocol
{
    /// <summary>
    /// Protocol version. Hub and Spoke may differ by one; more is refused with a message. 2: reports contain the epoch
    /// that they answer, and whether a guest stopped itself.
    /// </summary>
    public const int Version = 2;

    /// <summary>Interval of a Spoke's heartbeats.</summary>
    public const int HeartbeatSeconds = 5;

    /// <summary>After this much silence the state of a Spoke's VMs is unknown.</summary>
    public const int SilentSeconds = 30;

    /// <summary>Largest message in either direction, bytes: an inventory of some thousand VMs.</summary>
    public const int MaxMessageBytes = 8 << 20;

    /// <summary>Maximum length of the console text in a report, bytes.</summary>
    public const int ConsoleTailBytes = 4096;
}
