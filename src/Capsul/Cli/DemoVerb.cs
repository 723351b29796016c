using System.CommandLine;
using Capsul.Demo;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul demo</c>: see <see cref="DemoRun"/>.</summary>
static class DemoVerb
{
    static readonly Option<bool> Exit = new("--exit")
    {
        Description =
        "Exit after the login; the exit code says whether it worked."
    };
    static readonly Option<string> Image =
        new("--image") { Description = "tiny (boots in seconds) or debian-12.", DefaultValueFactory = _ => "tiny" };
    static readonly Option<bool> Simulated = new("--simulated")
    {
        Description =
        "Simulate the hypervisor: no real VM is started, and nobody can log in."
    };

    public static Command Make() => CommandLine.Verb("demo", """
        Runs a complete Capsul on this machine: database, Hub, Spoke, and one VM that is created through the web pages
        and logged in to with ssh. Runs until Ctrl-C, then removes everything except the image. The machine's network is
        not changed.

        Examples:
          capsul demo
          capsul demo --exit               for scripts: exits after the login
          capsul demo --image debian-12    full Debian; the image is built first, which takes minutes
          capsul demo --simulated          for machines without libvirt
        """, RunAsync, Exit, Image, Simulated);

    static Task<int> RunAsync(ParseResult parsed, CancellationToken cancel) =>
        new DemoRun(parsed.GetValue(Image)!, parsed.GetValue(Simulated), parsed.GetValue(Exit)).RunAsync(cancel);
}
