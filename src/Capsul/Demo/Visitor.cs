using System.Diagnostics;
using System.Text.RegularExpressions;
using AngleSharp.Html.Dom;
using Capsul.Foundation;

namespace Capsul.Demo;

/// <summary>How to log in to a VM, according to its page.</summary>
public sealed record SshAddress(string User, string Host, int Port)
{
    public string Text => $"ssh -p {Port} {User}@{Host}";
}

/// <summary>
/// Does what a newcomer does: signs in, adds a key, tops up, creates a capsul, waits for it, logs in. Uses only the web
/// pages and ssh.
/// </summary>
public sealed partial class Visitor(FrontDoor door, string folder)
{
    /// <summary>A guest without KVM takes seconds for the exchange of keys, on a busy machine many.</summary>
    static readonly TimeSpan LoginLimit = TimeSpan.FromMinutes(2);
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(100);

    public string KeyFile => Path.Combine(folder, "demo_key");

    /// <summary>Generates a key with ssh-keygen and adds it on the keys page.</summary>
    public async Task AddKeyAsync(CancellationToken cancel)
    {
        if (!File.Exists(KeyFile))
            await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", KeyFile)
                .RunAsync(cancel);
        var key = await File.ReadAllTextAsync(KeyFile + ".pub", cancel);
        await door.SubmitAsync(
            "/keys", "/keys", [KeyValuePair.Create("Key", key), KeyValuePair.Create("Name", "demo")], cancel);
    }

    public Task TopUpAsync(string dollars, CancellationToken cancel) =>
        door.SubmitAsync("/balance", "/balance", [KeyValuePair.Create("Dollars", dollars)], cancel);

    /// <summary>Posts the form for a new VM; returns its ID as soon as the Hub has accepted it.</summary>
    public async Task<string> CreateAsync(string size, string image, string name, CancellationToken cancel) =>
        (await PostCreateAsync(size, image, name, cancel)).Id;

    /// <summary>
    /// The same, with how long the Hub took to respond to the POST, and when it was sent (a timestamp of <see
    /// cref="Stopwatch"/>).
    /// </summary>
    public async Task<(string Id, TimeSpan Took, long PostedAt)> PostCreateAsync(
        string size, string image, string name, CancellationToken cancel)
    {
        var form = await door.OpenFormAsync("/vms/new", "/vms/new", cancel);
        var key = form.Element.QuerySelector("input[name=KeyIds]")?.GetAttribute("value") ?? "";
        var posted = Stopwatch.GetTimestamp();
        KeyValuePair<string, string>[] fields =
            [KeyValuePair.Create("Size", size), KeyValuePair.Create("Image", image),
                KeyValuePair.Create("Name", name), KeyValuePair.Create("KeyIds", key)];
        var path = await door.PostAsync(form, fields, cancel);
        var took = Stopwatch.GetElapsedTime(posted);
        return VmPath().Match(path) is { Success: true } match
            ? (match.Groups["id"].Value, took, posted)
            : throw new ProblemException(
                ProblemKind.Unavailable, "The Hub did not redirect to the new capsul's page.", path);
    }

    /// <summary>
    /// Waits on the VM's page until it runs; returns how to log in, and reports each step once as it appears.
    /// </summary>
    public async Task<SshAddress> AwaitRunningAsync(string id, Action<string> onStep, CancellationToken cancel)
    {
        var told = 0;
        while (true)
        {
            var page = await door.ReadAsync($"/vms/{id}", cancel);
            var steps = page.QuerySelectorAll(".progress .done > span").Select(e => e.TextContent.Trim()).ToList();
            foreach (var step in steps.Skip(told)) onStep(step);
            told = steps.Count;
            switch (page.GetElementById("live")?.GetAttribute("data-state"))
            {
                case "running":
                    return ReadAddress(page);
                case "failed" or "deleted":
                    throw new ProblemException(
                        ProblemKind.Unavailable, $"The capsul {id} did not start: {steps.LastOrDefault()}");
                default:
                    await Task.Delay(LookEvery, cancel);
                    break;
            }
        }
    }

    static SshAddress ReadAddress(IHtmlDocument page)
    {
        var match = SshCommand().Match(page.GetElementById("ssh-command")?.TextContent ?? "");
        return match.Success
            ? new SshAddress(match.Groups["user"].Value,
                match.Groups["host"].Value, int.Parse(match.Groups["port"].Value))
            : throw new ProblemException(
                ProblemKind.Unavailable, "The page of the running capsul shows no ssh command.");
    }

    /// <summary>The fingerprints on the page, to be compared with the key on the network.</summary>
    public async Task<IReadOnlyList<string>> FingerprintsAsync(string id, CancellationToken cancel) =>
        [.. (await door.ReadAsync($"/vms/{id}", cancel))
            .QuerySelectorAll(".fingerprints code").Select(e => e.TextContent)];

    /// <summary>Logs in with real ssh. Returns the output of the command in the VM.</summary>
    public async Task<string> LoginAsync(SshAddress address, string command, CancellationToken cancel)
    {
        var result = await (SshCommandFor(address, command) with { Timeout = LoginLimit }).RunAsync(cancel);
        return result.Output.Trim();
    }

    /// <summary>The fingerprint of the host key that the VM's SSH presents over the network.</summary>
    public async Task<string> SeenFingerprintAsync(SshAddress address, CancellationToken cancel)
    {
        var scan = await new Command(
            "ssh-keyscan", "-T", "50", "-t", "ed25519", "-p", address.Port.ToString(), address.Host).RunAsync(cancel);
        var list = await (new Command("ssh-keygen", "-lf", "-") with { Input = scan.Output }).RunAsync(cancel);
        return Fingerprint().Match(list.Output).Value;
    }

    /// <summary>
    /// Without a known_hosts file: ports are reused by other VMs, and the host key is compared with the page's.
    /// </summary>
    public Command SshCommandFor(SshAddress address, string command) =>
        new("ssh", "-i", KeyFile, "-p", address.Port.ToString(),
            "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=45",
            $"{address.User}@{address.Host}", command);

    public Task DeleteAsync(string id, CancellationToken cancel) =>
        door.SubmitAsync($"/vms/{id}/delete", $"/vms/{id}/delete", [], cancel);

    /// <summary>Waits until the VM is no longer in the list of capsuls.</summary>
    public async Task AwaitGoneAsync(string id, CancellationToken cancel)
    {
        while ((await door.PageAsync("/console", cancel)).Contains(id, StringComparison.Ordinal))
            await Task.Delay(LookEvery, cancel);
    }

    [GeneratedRegex("^/vms/(?<id>capsul-[a-z0-9]{10})", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex VmPath();

    [GeneratedRegex("ssh -p (?<port>[0-9]+) (?<user>[a-z_][a-z0-9_-]*)@(?<host>[0-9a-zA-Z.:-]+)",
        RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SshCommand();

    [GeneratedRegex("SHA256:[A-Za-z0-9+/]{43}", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Fingerprint();
}
