namespace Capsul.Hub.Features.Consoles;

/// <summary>What of a guest is shown: its serial console, or its screen by the RFB protocol (RFC 6143).</summary>
public enum ViewKind { Console, Screen }

static class ViewKinds
{
    /// <summary>As people and URLs name it.</summary>
    public static string Word(this ViewKind kind) => kind == ViewKind.Console ? "console" : "screen";
}
