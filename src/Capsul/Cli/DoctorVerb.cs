using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Features.ReverseDns;
using Capsul.Postgres;
using Capsul.Postgres.Checks;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary>
/// <c>capsul doctor</c>: what works on this machine, line by line, and what to do about the rest. Changes nothing.
/// </summary>
static class DoctorVerb
{
    public static Command Make() => CommandLine.Verb("doctor", """
        Checks this machine's requirements and suggests fixes. Exit code 1 when a required check fails.

        Example:
          capsul doctor
        """, RunAsync);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        var failed = false;
        var spokeOnly = IsSpokeOnly(settings);
        Say(await DataAsync(settings, cancel));
        if (!spokeOnly)
        {
            foreach (var line in await DatabaseAsync(settings, cancel)) Say(line);
            foreach (var line in await CheckMail.RunAsync(settings, cancel)) Say(line);
            foreach (var line in await DoctorPages.RunAsync(settings, cancel)) Say(line);
            foreach (var line in await CheckDns.RunAsync(settings, cancel)) Say(line);
        }
        Say(await SpokeAsync(settings, spokeOnly, cancel));
        Func<Settings, CancellationToken, Task<Finding>>[] ofMachine =
            [LibvirtAsync, KvmAsync, OutboundAsync, ImagesAsync, SshAsync];
        foreach (var check in ofMachine) Say(await check(settings, cancel));
        return failed ? 1 : 0;

        void Say(Finding line)
        {
            failed |= line.Verdict == Verdict.Fail;
            Console.WriteLine($"{line.Verdict.ToString().ToLowerInvariant(),-5} {line.What,-12} {line.Says}");
        }
    }

    static Task<Finding> DataAsync(Settings settings, CancellationToken cancel)
    {
        var existing = settings.Data;
        while (!Directory.Exists(existing)) existing = Path.GetDirectoryName(existing)!;
        var free = new DriveInfo(existing).AvailableFreeSpace >> 30;
        var says = $"{settings.Data}, {free} GiB free";
        if (free < 5) return Task.FromResult(new Finding(Verdict.Warn, "data folder", $"{says}: new VMs need 4"));
        if (!Environment.IsPrivilegedProcess && !settings.Simulated && settings.Data != Settings.RootData)
            return Task.FromResult(new Finding(Verdict.Warn, "data folder",
                $"{says}: yours. Capsul with real VMs runs as root, on {Settings.RootData} unless CAPSUL_DATA is set; "
                    + "see that with: sudo capsul doctor"));
        return Task.FromResult(new Finding(Verdict.Ok, "data folder", says));
    }

    /// <summary>This machine joined a Hub that runs on another: there is no database here.</summary>
    static bool IsSpokeOnly(Settings settings) => !settings.ExternalDatabase
        && File.Exists(Path.Combine(settings.Data, "spoke", "identity.pfx"))
        && !Directory.Exists(Path.Combine(settings.Data, "postgres"));

    static async Task<Finding> SpokeAsync(Settings settings, bool spokeOnly, CancellationToken cancel)
    {
        var says = "";
        try
        {
            if (Identity.Load(settings.Data) is not { } identity)
                return new(Verdict.Ok, "spoke", "has not joined a Hub; capsul up joins its own");
            says = $"host {identity.HostId} of the Hub at {identity.Address}, certificate valid until "
                + $"{identity.ValidUntil:yyyy-MM-dd}";
            // The port of a Hub that is started together with its Spoke may be another each time.
            if (!spokeOnly) return new(Verdict.Ok, "spoke", says);
            await identity.ReachHubAsync(cancel);
            return new(Verdict.Ok, "spoke", $"{says}; the Hub responds");
        }
        catch (ProblemException error)
        {
            return new(Verdict.Fail, "spoke", $"{(says.Length > 0 ? $"{says}. " : "")}{error.Problem.Message}");
        }
    }

    /// <summary>
    /// A stopped private cluster is started for the check and stopped again; a missing one is not created.
    /// </summary>
    static async Task<IReadOnlyList<Finding>> DatabaseAsync(Settings settings, CancellationToken cancel)
    {
        try
        {
            if (!settings.ExternalDatabase
                && !File.Exists(Path.Combine(settings.Data, "postgres", "data", "PG_VERSION")))
                return [new(Verdict.Ok, "database",
                    "a private cluster will be created, using the programs in "
                    + $"{EmbeddedPostgres.FindBinaries(settings.PostgresBin)}")];
            await using var database = await CliDatabase.ConnectAsync(settings, cancel);
            var checks = await new DatabaseChecks(database.Db, TimeProvider.System, ListAlerts.FindingsAsync)
                .RunAsync(cancel);
            return [.. checks, await RecoveryAsync(settings, database.Db, cancel)];
        }
        catch (ProblemException error)
        {
            return [new(Verdict.Fail, "database", error.Problem.Message), CheckRecoveryCopy.OfFile(settings)];
        }
    }

    /// <summary>A database without the newest schema may not have what is compared.</summary>
    static async Task<Finding> RecoveryAsync(Settings settings, Db db, CancellationToken cancel)
    {
        try
        {
            return await CheckRecoveryCopy.RunAsync(settings, db, cancel);
        }
        catch (Npgsql.PostgresException)
        {
            return CheckRecoveryCopy.OfFile(settings);
        }
    }

    static async Task<Finding> LibvirtAsync(Settings settings, CancellationToken cancel)
    {
        if (settings.Simulated) return new(Verdict.Warn, "hypervisor", "simulated: no real VMs are started");
        if (settings.Libvirt != "private") return new(Verdict.Ok, "hypervisor", $"libvirt at {settings.Libvirt}");
        foreach (var program in (string[])["/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64",
            "/usr/bin/genisoimage", "/usr/bin/tini", "/usr/sbin/dnsmasq"])
        {
            if (!File.Exists(program))
                return new(Verdict.Fail, "hypervisor", $"{program} is missing; run ./capsul once, which installs it");
        }
        if (!Environment.IsPrivilegedProcess) return new(Verdict.Fail, "hypervisor",
            "a private libvirtd needs root; run with sudo");
        var version = await new Foundation.Command("/usr/sbin/libvirtd", "--version").RunAsync(cancel);
        return new(Verdict.Ok, "hypervisor",
            $"a private libvirtd in its own network namespace, {version.Output.Trim()}");
    }

    static async Task<Finding> KvmAsync(Settings settings, CancellationToken cancel)
    {
        if (settings.Simulated) return new(Verdict.Ok, "KVM", "not needed by the simulated hypervisor");
        var verdict = await new KvmProbe(settings, TimeProvider.System).DecideAsync(cancel);
        return new(verdict.Use ? Verdict.Ok : Verdict.Warn, "KVM",
            $"{(verdict.Use ? "used" : "not used; guests run on TCG, which is slow")}: {verdict.Why}");
    }

    static Task<Finding> OutboundAsync(Settings settings, CancellationToken cancel) =>
        CheckWayOut.RunAsync(settings, cancel);

    static Task<Finding> ImagesAsync(Settings settings, CancellationToken cancel)
    {
        var images = new ImageStore(settings.Images).List();
        return Task.FromResult(images.Count == 0
            ? new Finding(Verdict.Warn, "images", "none; create one with: capsul image build tiny")
            : new Finding(Verdict.Ok, "images", string.Join(", ", images.Select(i => i.Id))));
    }

    static Task<Finding> SshAsync(Settings settings, CancellationToken cancel) =>
        Task.FromResult(File.Exists("/usr/bin/ssh")
            ? new Finding(Verdict.Ok, "ssh", "/usr/bin/ssh")
            : new Finding(Verdict.Warn, "ssh", "no ssh client; the demo needs one (package openssh-client)"));
}
