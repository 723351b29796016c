using System.Text;
using System.Text.RegularExpressions;

namespace Capsul.Hub.Web;

/// <summary>
/// The terminal xterm.js (MIT), as Debian's package node-xterm installs it: modules for Node.js, which are put together
/// into one for browsers here. Debian's bundle for browsers, libjs-xterm, contains none of them in Debian 12.
/// </summary>
static partial class Xterm
{
    const string Folder = "/usr/share/nodejs/xterm/lib";

    /// <summary>Module, and the name under which it is exported.</summary>
    static readonly (string Module, string Export)[] Entries =
        [("public/Terminal", "Terminal"), ("addons/fit/fit", "fit")];

    /// <summary>A script and a style sheet; nothing if the package is not installed.</summary>
    public static IEnumerable<KeyValuePair<string, byte[]>> Files()
    {
        if (!File.Exists(Path.Combine(Folder, "public/Terminal.js"))) return [];
        return [
            KeyValuePair.Create("xterm.js", Encoding.UTF8.GetBytes(Bundle(Folder))),
            KeyValuePair.Create("xterm.css", File.ReadAllBytes(Path.Combine(Folder, "xterm.css"))),
        ];
    }

    /// <summary>One module with everything that the entries require, each in a function of its own.</summary>
    public static string Bundle(string folder)
    {
        var modules = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (module, _) in Entries) Add(folder, module, modules);
        var text = new StringBuilder("const modules = {\n");
        foreach (var (name, code) in modules)
            text.Append($"\"{name}\"(exports, require) {{\n{code}\n}},\n");
        text.Append("""
            };
            const loaded = {};
            function load(name) {
              if (!loaded[name]) modules[name](loaded[name] = {}, to => load(resolve(name, to)));
              return loaded[name];
            }
            function resolve(from, to) {
              const path = from.split("/").slice(0, -1);
              for (const part of to.split("/"))
                if (part === "..") path.pop();
                else if (part !== ".") path.push(part);
              return path.join("/");
            }

            """);
        foreach (var (module, export) in Entries)
            text.Append($"export const {export} = load(\"{module}\").{export};\n");
        return text.ToString();
    }

    static void Add(string folder, string module, SortedDictionary<string, string> modules)
    {
        if (modules.ContainsKey(module)) return;
        var code = SourceMap().Replace(File.ReadAllText(Path.Combine(folder, module + ".js")), "");
        modules[module] = code;
        foreach (Match required in Require().Matches(code))
        {
            var path = Path.Combine("/", Path.GetDirectoryName(module)!, required.Groups["path"].Value);
            Add(folder, Path.GetFullPath(path)[1..], modules);
        }
    }

    [GeneratedRegex("""require\("(?<path>\.[^"]+)"\)""", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Require();

    [GeneratedRegex("//# sourceMappingURL=.*", RegexOptions.None, 1000)]
    private static partial Regex SourceMap();
}
