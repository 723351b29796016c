namespace Capsul.Hub.Web;

/// <summary>
/// The viewer noVNC (MPL 2.0) of Debian's package novnc: modules for browsers, served as they are. The package wants a
/// server of its own, with Python and Node.js; <c>./capsul</c> unpacks it without those (decision 19).
/// </summary>
static class Novnc
{
    /// <summary>Where the package itself installs it, and where <c>./capsul</c> unpacks it.</summary>
    static readonly string[] Folders = ["/usr/share/novnc", "/usr/local/share/capsul/novnc"];

    /// <summary>The protocol, and what it needs of others; the rest is a page of its own.</summary>
    static readonly string[] Parts = ["core", "vendor"];

    /// <summary>Scripts under <c>novnc/</c>; nothing if the package is not there.</summary>
    public static IEnumerable<KeyValuePair<string, byte[]>> Files()
    {
        if (Folders.FirstOrDefault(f => File.Exists(Path.Combine(f, "core/rfb.js"))) is not { } folder) return [];
        return Parts.Select(p => Path.Combine(folder, p)).Where(Directory.Exists)
            .SelectMany(p => Directory.EnumerateFiles(p, "*.js", SearchOption.AllDirectories))
            .Select(f => KeyValuePair.Create(
                $"novnc/{Path.GetRelativePath(folder, f).Replace('\\', '/')}", File.ReadAllBytes(f)));
    }
}
