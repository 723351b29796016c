using System.Diagnostics;
using System.Text;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using static Capsul.Tests.Spoke.Hypervisor.RealHypervisor;

namespace Capsul.Tests.Spoke.Hypervisor;

[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed partial class LibvirtTests(RealHypervisor real)
{
    static CancellationToken None => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_vm_goes_from_disk_to_removal_and_leaves_nothing()
    {
        var vm = real.Spec("aaaaaaaaaa", 10);
        var watch = Stopwatch.StartNew();
        await real.Libvirt.MakeDiskAsync(vm, None);
        var disk = watch.ElapsedMilliseconds;
        await real.Libvirt.DefineAsync(vm, None);
        var define = watch.ElapsedMilliseconds;
        await real.Libvirt.StartAsync(vm, None);
        var start = watch.ElapsedMilliseconds;
        await real.WaitForSshAsync(vm);
        Say($"disk {disk} ms, define {define - disk} ms, start {start - define} ms, start to SSH banner "
            + $"{watch.ElapsedMilliseconds - define} ms");
        (await real.SshAsync(vm, "hostname; df -k /disk | tail -1; echo kept >file; sync"))
            .Output.ShouldStartWith("t10\n");

        var qemu = RealWorld.Qemus(vm.Id).ShouldHaveSingleItem();
        (await File.ReadAllTextAsync($"/proc/{qemu}/cgroup", None))
            .ShouldContain($"/{vm.Id}", customMessage: "it is in its own control group");
        int.Parse(await File.ReadAllTextAsync($"/proc/{qemu}/oom_score_adj", None))
            .ShouldBeGreaterThan(0, "it is killed before the Hub");
        string[] visible =
            ["bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr", "var"];
        Directory.EnumerateFileSystemEntries($"/proc/{qemu}/root/").Select(Path.GetFileName).ShouldBeSubsetOf(visible);
        Directory.EnumerateFileSystemEntries($"/proc/{qemu}/root/var/lib")
            .Select(Path.GetFileName).ShouldBe(["libvirt"]);
        File.Exists($"/proc/{qemu}/root/etc/shadow").ShouldBeFalse("QEMU sees the host's files");

        var console = await real.Libvirt.ConsoleTailAsync(vm.Id, 4096, None);
        console.ShouldContain("-----BEGIN SSH HOST KEY KEYS-----");
        console.ShouldContain("ssh-ed25519 ");

        await LogInOnConsoleAsync(vm);
        await ChangeKeysAsync(vm);

        watch.Restart();
        await real.Libvirt.ShutdownAsync(vm.Id, None);
        await real.WaitForPowerAsync(vm, DomainPower.Off);
        Say($"shutdown {watch.ElapsedMilliseconds} ms");

        watch.Restart();
        await real.Libvirt.DefineAsync(vm, None);
        Say($"define again {watch.ElapsedMilliseconds} ms");
        watch.Restart();
        await real.Libvirt.StartAsync(vm, None);
        Say($"start again {watch.ElapsedMilliseconds} ms");
        await real.WaitForSshAsync(vm);
        Say($"start again to SSH {watch.ElapsedMilliseconds} ms");
        (await real.SshAsync(vm, "cat file")).Output.ShouldBe("kept\n");
        var keys = (await real.Libvirt.ConsoleTailAsync(vm.Id, 1 << 20, None)).Split('\n')
            .Where(l => l.StartsWith("ssh-ed25519", StringComparison.Ordinal)).ToList();
        keys.Count.ShouldBe(2);
        keys[0].ShouldBe(keys[1]);

        watch.Restart();
        await real.Libvirt.RemoveAsync(vm.Id, None);
        Say($"remove, running {watch.ElapsedMilliseconds} ms");
        await NothingIsLeftAsync(vm);
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    async Task LogInWithPasswordAsync(VmSpec vm, ConsoleView view)
    {
        await Until.TrueAsync("the agent answers", TimeSpan.FromSeconds(60), async () =>
        {
            try
            {
                await real.Libvirt.SetPasswordAsync(vm.Id, "capsul", "abcd-efgh-2345", None);
                return true;
            }
            catch (HypervisorException error)
                when (error.Message.StartsWith("No guest agent", StringComparison.Ordinal))
            {
                return false;
            }
        });
        await view.TypeAsync("capsul\r"u8.ToArray(), None);
        await SeeAsync(view, "Password: ");
        await view.TypeAsync("abcd-efgh-2345\r"u8.ToArray(), None);
        await SeeAsync(view, "$ ");
        await view.TypeAsync("id -un; exit\r"u8.ToArray(), None);
        await SeeAsync(view, "\ncapsul\r");
        await SeeAsync(view, "login: ");
    }

    /// <summary>
    /// Two viewers share its line. It is let go when the last one leaves, and another one can come.
    /// </summary>
    async Task LogInOnConsoleAsync(VmSpec vm)
    {
        var consoles = new Consoles(real.Libvirt, TimeProvider.System);
        await using (var other = await consoles.WatchAsync(vm.Id, None))
        {
            await using var view = await consoles.WatchAsync(vm.Id, None);
            await SeeAsync(view, "login: ");
            await view.TypeAsync("root\r"u8.ToArray(), None);
            await SeeAsync(view, "# ");
            await view.TypeAsync("echo $((6 * 7))\r"u8.ToArray(), None);
            await SeeAsync(view, "\n42\r");
            await SeeAsync(other, "\n42\r");
        }
        await using var again = await consoles.WatchAsync(vm.Id, None);
        await again.TypeAsync("echo $((7 * 8)); exit\r"u8.ToArray(), None);
        await SeeAsync(again, "\n56\r");
        await SeeAsync(again, "login: ");
        await LogInWithPasswordAsync(vm, again);
    }

    /// <summary>Who has lost the old key logs in with another one.</summary>
    async Task ChangeKeysAsync(VmSpec vm)
    {
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", real.KeyFile + "-new").RunAsync(None);
        var other = (await File.ReadAllTextAsync(real.KeyFile + "-new.pub", None)).Split(' ');
        await Until.TrueAsync("the guest's agent answers", TimeSpan.FromSeconds(60), async () =>
        {
            try
            {
                await real.Libvirt.SetKeysAsync(vm.Id, "capsul", [$"{other[0]} {other[1]}"], None);
                return true;
            }
            catch (HypervisorException error) when (!error.Final)
            {
                return false;
            }
        });
        (await real.SshAsync(vm, "echo in")).ExitCode.ShouldNotBe(0, "the old key");
        (await real.SshAsync(vm, "echo in", key: real.KeyFile + "-new")).Output.ShouldBe("in\n");
        var old = real.PublicKey.Split(' ');
        await real.Libvirt.SetKeysAsync(vm.Id, "capsul", [$"{old[0]} {old[1]}"], None);
        (await real.SshAsync(vm, "echo in")).Output.ShouldBe("in\n");
    }

    static async Task SeeAsync(ConsoleView view, string text)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(None);
        limit.CancelAfter(Until.Patient(TimeSpan.FromSeconds(60)));
        var seen = "";
        while (!seen.Contains(text, StringComparison.Ordinal))
            seen += Encoding.UTF8.GetString((await view.Output.ReadAsync(limit.Token)).Span);
    }

    [Fact]
    public async Task Every_verb_is_idempotent()
    {
        var vm = real.Spec("bbbbbbbbbb", 11);
        for (var i = 0; i < 2; i++) await real.Libvirt.MakeDiskAsync(vm, None);
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBe(DomainPower.Off);
        for (var i = 0; i < 2; i++) await real.Libvirt.DefineAsync(vm, None);
        for (var i = 0; i < 2; i++) await real.Libvirt.StartAsync(vm, None);
        (await real.Libvirt.ListAsync(None)).ShouldContain(new DomainState(vm.Id, DomainPower.On));
        (await real.Libvirt.ListAsync(None)).Count(d => d.Id == vm.Id).ShouldBe(1);
        for (var i = 0; i < 2; i++) await real.Libvirt.TurnOffAsync(vm.Id, None);
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBe(DomainPower.Off);
        await real.Libvirt.ShutdownAsync(vm.Id, None);
        for (var i = 0; i < 2; i++) await real.Libvirt.RemoveAsync(vm.Id, None);
        await NothingIsLeftAsync(vm);
    }

    [Fact]
    public async Task Events_tell_which_vm_changed()
    {
        var vm = real.Spec("cccccccccc", 12);
        while (real.Libvirt.Changes.TryRead(out _)) { }
        await real.CreateAsync(vm);
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        while (await real.Libvirt.Changes.ReadAsync(limit.Token) != vm.Id) { }
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    [Fact]
    public async Task Removing_a_partial_vm_leaves_nothing()
    {
        var vm = real.Spec("dddddddddd", 13);
        await real.Libvirt.MakeDiskAsync(vm, None);
        (await real.Libvirt.ListAsync(None)).ShouldContain(new DomainState(vm.Id, DomainPower.Off));
        await real.Libvirt.RemoveAsync(vm.Id, None);
        await NothingIsLeftAsync(vm);
    }

    [Fact]
    public async Task A_missing_image_is_named_and_final()
    {
        var vm = real.Spec("eeeeeeeeee", 14);
        var missing = await Should.ThrowAsync<HypervisorException>(
            () => real.Libvirt.MakeDiskAsync(vm with { ImageId = "plan-9" }, None));
        (missing.Final, missing.Message).ShouldBe((true, "The image plan-9 is not on this host."));
        var other = await Should.ThrowAsync<HypervisorException>(
            () => real.Libvirt.MakeDiskAsync(vm with { ImageSha256 = new string('0', 64) }, None));
        (other.Final, other.Message).ShouldBe(
            (true, "The image tiny is not on this host in version 0000000000000000."));
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBeNull();
    }

    [Fact]
    public async Task A_full_disk_is_reported_and_leaves_nothing_half_done()
    {
        var folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;
        var settings = real.Settings.With(("CAPSUL_DATA", folder));
        await new Command("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder).RunAsync(None);
        try
        {
            await using var small = new Libvirt(settings, real.Images, NullLogger.Instance, TimeProvider.System);
            await small.PrepareAsync(None);
            var vm = real.Spec("llllllllll", 21);
            var full = await Should.ThrowAsync<HypervisorException>(() => small.MakeDiskAsync(vm, None));
            (full.Final, full.Message).ShouldBe((true, "The host's disk is full."));
            (await small.FindAsync(vm.Id, None)).ShouldBeNull();
        }
        finally
        {
            await Sandbox.StopAsync(settings, TimeProvider.System, None);
            await new Command("umount", folder).RunAsync(None);
            Directory.Delete(folder);
        }
    }

    [Fact]
    public async Task A_missing_libvirt_is_unreachable_with_a_clear_message()
    {
        var settings = real.Settings.With(("CAPSUL_LIBVIRT", "qemu+unix:///system?socket=/run/capsul/nothing"));
        await using var absent = new Libvirt(settings, real.Images, NullLogger.Instance, TimeProvider.System);
        var error = await Should.ThrowAsync<HypervisorException>(() => absent.PrepareAsync(None));
        error.Unreachable.ShouldBeTrue();
        error.Message.ShouldStartWith("libvirt does not respond: ");
    }

    [Fact]
    public async Task Names_that_are_not_ours_are_refused()
    {
        foreach (var name in (string[])["web", "capsul-", "capsul-AAAAAAAAAA",
            "capsul-aaaaaaaaaaa", "../capsul-aaaaaaaaaa"])
            (await Should.ThrowAsync<HypervisorException>(() => real.Libvirt.RemoveAsync(name, None)))
                .Final.ShouldBeTrue();
    }

    [Fact]
    public async Task The_power_button_works_if_the_agent_hangs()
    {
        var vm = real.Spec("ffffffffff", 15);
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        (await real.SshAsync(vm, "su -c 'until pidof qemu-ga; do sleep 0.1; done; killall -STOP qemu-ga; until pidof "
            + "acpid; do sleep 0.1; done'")).ExitCode.ShouldBe(0);
        await real.Libvirt.ShutdownAsync(vm.Id, None);
        await real.WaitForPowerAsync(vm, DomainPower.Off);
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    [Fact]
    public async Task A_killed_libvirtd_is_restarted_without_affecting_the_vm()
    {
        var vm = real.Spec("gggggggggg", 16);
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        await SignalLibvirtdAsync("-9");
        var watch = Stopwatch.StartNew();
        await AnswersAgainAsync(vm);
        Say($"killed libvirtd responds again after {watch.ElapsedMilliseconds} ms");
        (await real.SshAsync(vm, "uptime")).ExitCode.ShouldBe(0);
        await real.Libvirt.RemoveAsync(vm.Id, None);
        await NothingIsLeftAsync(vm);
    }

    [Fact]
    public async Task A_hung_libvirtd_is_unreachable_in_time_and_recovers()
    {
        var vm = real.Spec("hhhhhhhhhh", 17);
        await real.CreateAsync(vm);
        await SignalLibvirtdAsync("-STOP");
        var watch = Stopwatch.StartNew();
        (await Should.ThrowAsync<HypervisorException>(() => real.Libvirt.ListAsync(None))).Unreachable.ShouldBeTrue();
        watch.Elapsed.TotalSeconds.ShouldBeLessThan(15, "a call has five, and opening a connection fifteen");
        await SignalLibvirtdAsync("-CONT");
        await AnswersAgainAsync(vm);
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    [Fact]
    public async Task A_new_spoke_finds_the_vms_of_the_old_one()
    {
        var vm = real.Spec("iiiiiiiiii", 18);
        // Neither is the one that all tests share: that goes on, and puts the rules of its own VMs back.
        await using (var old = Another())
        {
            await old.PrepareAsync(None);
            await RealHypervisor.CreateAsync(old, vm);
        }
        var watch = Stopwatch.StartNew();
        await using var next = Another();
        await next.PrepareAsync(None);
        Say($"prepare, warm: {watch.ElapsedMilliseconds} ms");
        (await next.FindAsync(vm.Id, None)).ShouldBe(DomainPower.On);
        await next.RemoveAsync(vm.Id, None);
        await NothingIsLeftAsync(vm);
    }

    Libvirt Another() => new(real.Settings, real.Images, NullLogger.Instance, TimeProvider.System);

    [Fact]
    public async Task Two_sandboxes_run_side_by_side_and_end_without_a_trace()
    {
        var folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;
        var settings = real.Settings.With(("CAPSUL_DATA", folder), ("CAPSUL_VM_NETWORK", "10.77.0.0/24"));
        var vm = real.Spec("jjjjjjjjjj", 19);
        await using (var other = new Libvirt(settings, real.Images, NullLogger.Instance, TimeProvider.System))
        {
            await other.PrepareAsync(None);
            await RealHypervisor.CreateAsync(other, vm);
            (await other.FindAsync(vm.Id, None)).ShouldBe(DomainPower.On);
            (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBeNull();
        }
        Sandbox.IsRunning(settings).ShouldBeTrue();
        await Sandbox.StopAsync(settings, TimeProvider.System, None);
        Sandbox.IsRunning(settings).ShouldBeFalse();
        File.ReadAllText("/proc/mounts").ShouldNotContain(folder);
        Directory.GetDirectories("/proc").Where(d => int.TryParse(Path.GetFileName(d), out _))
            .Select(CommandLine).ShouldNotContain(c => c.Contains(vm.Id));
        Directory.Delete(folder, recursive: true);
        Directory.Exists(Sandbox.RunFolder(settings)).ShouldBeFalse();
    }

    async Task SignalLibvirtdAsync(string signal)
    {
        var pid = (await File.ReadAllTextAsync(Path.Combine(real.RunFolder, "libvirtd.pid"), None)).Trim();
        await real.Sandbox.Inside("kill", signal, pid).RunAsync(None);
    }

    /// <summary>Waits until the VM is reported on again; meanwhile only Unreachable is allowed.</summary>
    Task AnswersAgainAsync(VmSpec vm) => Until.TrueAsync("libvirt responds again", TimeSpan.FromSeconds(60), async () =>
    {
        try
        {
            (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBe(DomainPower.On);
            return true;
        }
        catch (HypervisorException error) when (error.Unreachable)
        {
            return false;
        }
    });

    async Task NothingIsLeftAsync(VmSpec vm)
    {
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBeNull();
        (await real.Libvirt.ListAsync(None)).ShouldNotContain(d => d.Id == vm.Id);
        (await real.VirshAsync("list", "--all", "--name")).ShouldNotContain(vm.Id);
        (await real.VirshAsync("vol-list", "capsul")).ShouldNotContain(vm.Id);
        (await real.VirshAsync("net-dumpxml", "capsul")).ShouldNotContain(vm.Id);
        (await real.Sandbox.Inside("nft", "list", "table", "bridge", "capsul").RunAsync(None))
            .Output.ShouldNotContain(DomainXml.Tap(vm.Id));
        (await real.Sandbox.Inside("ip", "link").RunAsync(None)).Output.ShouldNotContain(DomainXml.Tap(vm.Id));
        Directory.GetFileSystemEntries(
            Path.Combine(real.Settings.Data, "spoke"), "*" + vm.Id + "*", SearchOption.AllDirectories).ShouldBeEmpty();
        Directory.GetDirectories("/proc").Where(d => int.TryParse(Path.GetFileName(d), out _))
            .Select(CommandLine).ShouldNotContain(c => c.Contains(vm.Id));
    }

    static string CommandLine(string process)
    {
        try
        {
            return File.ReadAllText(Path.Combine(process, "cmdline"));
        }
        catch (IOException)
        {
            return "";
        }
    }
}
