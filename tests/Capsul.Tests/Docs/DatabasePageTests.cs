using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.Docs;

/// <summary>
/// Runs every command of docs/database.md and docs/ledger.md, unchanged and in order, on the test's own Capsul.
/// </summary>
public sealed partial class DatabasePageTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("database.md", 12), InlineData("ledger.md", 1)]
    public async Task Every_command_of_the_page_works(string name, int least)
    {
        var data = TestFolder.MakeFast("page");
        var work = Directory.CreateDirectory(Path.Combine(data, "work")).FullName;
        var usb = Directory.CreateDirectory(Path.Combine(data, "usb")).FullName;
        var fresh = TestFolder.MakeFast("page-fresh");
        var tools = await ToolsAsync(data);
        var environment = new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["PATH"] = string.Join(
                ':', tools, Path.GetDirectoryName(CapsulProgram.File), Environment.GetEnvironmentVariable("PATH")),
            ["CAPSUL_DATA"] = data,
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_POSTGRES_FSYNC"] = "off",
        };
        (await RunAsync("capsul payment record jo@example.org 20", work, environment)).ExitCode.ShouldBe(0);

        var page = await File.ReadAllTextAsync(Path.Combine(Golden.Root, "docs", name), Cancel);
        var blocks = Block().Matches(page)
            .Select(m => (How: m.Groups["how"].Value.Trim(), Script: m.Groups["script"].Value)).ToList();
        blocks.Count.ShouldBeGreaterThanOrEqualTo(least, "the test must have found them");
        foreach (var (how, text) in blocks)
        {
            var script = text.Replace("/var/lib/capsul", data, StringComparison.Ordinal)
                .Replace("/mnt/usb", usb, StringComparison.Ordinal);
            environment["CAPSUL_DATA"] = how == "new-machine" ? fresh : data;
            var line = how switch
            {
                // An interactive program gets a terminal whose user quits immediately.
                "terminal" => $"printf 'SELECT 40 + 2 AS answer;\\n\\\\q\\n' | script -qec '{script.Trim()}' /dev/null",
                // A command that runs until Ctrl-C gets one as soon as it has printed something.
                "follow" => $"set -m; {script.Trim()} > said & sleeper=$!; until [ -s said ]; do kill -0 $sleeper; "
                    + "sleep 0.1; done; kill -INT $sleeper; wait $sleeper || [ $? = 130 ]",
                _ => script,
            };
            var ended = await RunAsync(line, work, environment);
            if (how == "exit=0|1") ended.ExitCode.ShouldBeInRange(0, 1, ended.Error);
            else ended.ExitCode.ShouldBe(0, $"{script}\n{ended.Output}\n{ended.Error}");
            if (how == "terminal") ended.Output.ShouldContain("42");
        }
    }

    static Task<CommandResult> RunAsync(string script, string folder, Dictionary<string, string?> environment) =>
        new Command("bash", "-c", $"set -e\n{script}")
        {
            WorkingDirectory = folder,
            Environment = environment,
            Timeout = TimeSpan.FromMinutes(3),
        }.TryRunAsync(Cancel);

    /// <summary>
    /// The page's pg_dump command assumes that Capsul uses the system's cluster. Here <c>sudo -u postgres pg_dump</c>
    /// must use the private cluster, which has to be running: through a stand-in for sudo that drops its own options
    /// and sets psql's variables.
    /// </summary>
    static async Task<string> ToolsAsync(string data)
    {
        var tools = Directory.CreateDirectory(Path.Combine(data, "tools")).FullName;
        var sudo = Path.Combine(tools, "sudo");
        await File.WriteAllTextAsync(sudo, """
            #!/bin/bash
            set -e
            [ "$1 $2" = "-u postgres" ]
            shift 2
            cluster="$CAPSUL_DATA/postgres"
            bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
            (cd / && setpriv --reuid postgres --regid postgres --clear-groups \
                "$bin/pg_ctl" -D "$cluster/data" -w -s -l /dev/null start)
            socket=$(grep -oP "unix_socket_directories = '\K[^']+" "$cluster/data/capsul.conf")
            PGHOST=$socket PGUSER=capsul PGPASSWORD=$(cat "$cluster/password") "$@"
            (cd / && setpriv --reuid postgres --regid postgres --clear-groups \
                "$bin/pg_ctl" -D "$cluster/data" -w -s stop)
            """, Cancel);
        File.SetUnixFileMode(sudo, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return tools;
    }

    [GeneratedRegex("^```sh(?<how>[^\n]*)\n(?<script>.*?)^```$",
        RegexOptions.Multiline | RegexOptions.Singleline | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Block();
}
