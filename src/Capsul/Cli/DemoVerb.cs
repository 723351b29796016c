using System.CommandLine;
using Capsul.Demo;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul demo</c>: see <see cref="DemoRun"/>.</summary>
static class DemoVerb
{
    static readonly Option<bool> Exit = new("--exit") { Description = "End after the login; the exit code says whether it worked." };
    static readonly Option<string> Image = new("--image") { Description = "tiny (boots in seconds) or debian-12.", DefaultValueFactory = _ => "tiny" };
    static readonly Option<bool> Simulated = new("--simulated") { Description = "Without a hypervisor: nothing real is started and nobody can log in." };

    public static Command Make() => CommandLine.Verb("demo", """
        A whole Capsul on this machine: database, Hub, Spoke, and one VM that is made through the web pages and logged into with ssh.
        Stays up until Ctrl-C, then takes away everything but the image. Nothing of the machine's network is changed.

        Examples:
          capsul demo
          capsul demo --exit               for scripts: ends after the login
          capsul demo --image debian-12    a full Debian; it is built first, which takes minutes
          capsul demo --simulated          for machines without libvirt
        """, (parsed, cancel) => new DemoRun(parsed.GetValue(Image)!, parsed.GetValue(Simulated), parsed.GetValue(Exit)).RunAsync(cancel), Exit, Image, Simulated);
}
