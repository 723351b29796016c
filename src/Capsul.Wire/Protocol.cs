namespace Capsul.Wire;

/// <summary>Numbers that both ends must agree on.</summary>
public static class Protocol
{
    /// <summary>
    /// Protocol version. Hub and Spoke may differ by one; more is refused with a message. 2: reports contain the epoch
    /// that they answer, and whether a guest stopped itself. 3: heartbeats are answered, wanted states acknowledged;
    /// tokens and run IDs reveal a copied Spoke.
    /// </summary>
    public const int Version = 3;

    /// <summary>What is said when the versions differ by more than one, on both ends; empty if they do not.</summary>
    public static string Refusal(long spoke, long hub) => Math.Abs(spoke - hub) <= 1 ? ""
        : $"This Spoke uses version {spoke} of the protocol and the Hub version {hub}; they may differ by one. "
            + "Upgrade the older of the two.";

    /// <summary>
    /// Trailer of a refusal by a standby Hub: host:port of the active one's link, if it is known.
    /// </summary>
    public const string ActiveHubTrailer = "capsul-active-hub";

    /// <summary>
    /// A Hub that has not answered a heartbeat for this long is given up: time for a busy one, and still a Spoke
    /// follows to the next Hub within 15 s of the failure of the last.
    /// </summary>
    public const int ReplySeconds = 8;

    /// <summary>The image of VMs that were adopted: they have none.</summary>
    public const string AdoptedImage = "adopted";

    /// <summary>How many rules the firewall of a VM may have.</summary>
    public const int MaxFirewallRules = 50;

    /// <summary>How many ports of its host may lead to a VM.</summary>
    public const int MaxPorts = 20;

    /// <summary>How many IPv4 addresses a VM may have besides its first.</summary>
    public const int MaxFurtherAddresses = 8;

    /// <summary>How many foreign machines a Spoke reports.</summary>
    public const int MaxForeign = 1000;

    /// <summary>Length of the token that a Welcome gives, bytes.</summary>
    public const int TokenBytes = 32;

    /// <summary>Interval of a Spoke's heartbeats.</summary>
    public const int HeartbeatSeconds = 5;

    /// <summary>Interval at which a Spoke says what VMs have used.</summary>
    public const int UsageSeconds = 300;

    /// <summary>After this much silence the state of a Spoke's VMs is unknown.</summary>
    public const int SilentSeconds = 30;

    /// <summary>Largest message in either direction, bytes: an inventory of some thousand VMs.</summary>
    public const int MaxMessageBytes = 8 << 20;

    /// <summary>Most of a message that is filled with VMs or records before the next one begins, bytes.</summary>
    public const int MessagePartBytes = 1 << 20;

    /// <summary>
    /// Maximum length of a recovery record: one with many long SSH keys; and of its signature, bytes.
    /// </summary>
    public const int MaxRecordBytes = 512 << 10, MaxSignatureBytes = 128;

    /// <summary>Maximum length of the console text in a report, bytes.</summary>
    public const int ConsoleTailBytes = 4096;
}
