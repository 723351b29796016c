namespace Capsul.Hub.Features.Hosts;

/// <summary>Word and color for the state of a host; the word is sufficient.</summary>
/// <param name="Tone">good, busy, bad or off: a class of the style sheet.</param>
public sealed record HostState(string Word, string Tone)
{
    public static HostState Of(ShownHostRow host) => host switch
    {
        { State: "invited" } => new("invited", "busy"),
        { State: "revoked" } => new("revoked", "off"),
        { Online: false, Problem.Length: > 0 } => new("not answering", "bad"),
        { Online: false } => new("offline", "bad"),
        { Accepts: false } => new("drained", "busy"),
        _ => new("online", "good"),
    };
}
