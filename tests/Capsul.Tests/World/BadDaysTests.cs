using Capsul.Foundation;
using Capsul.Spoke.Images;
using Capsul.Tests.Spoke.Hypervisor;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// Failures of a host with real guests: whatever happens to a create, it ends with a clear message, no charge and no
/// leftovers.
/// </summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class BadDaysTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>The test's own image folder, with a copy of tiny.</summary>
    static async Task<string> CopyTinyAsync()
    {
        var shared = new ImageStore(RealHypervisor.ImageFolder);
        await RealHypervisor.TinyAsync(shared, Cancel);
        var folder = TestFolder.Make("images");
        await new Command("cp", "-a", Path.Combine(shared.Folder, TinyImage.Id), folder).RunAsync(Cancel);
        return folder;
    }

    static string DiskOfTiny(string images)
    {
        var store = new ImageStore(images);
        return store.Disk(store.Current(TinyImage.Id)!);
    }

    [Theory]
    [InlineData("deleted", "The image tiny is not on this host.")]
    [InlineData("damaged", "The image tiny on this host is damaged")]
    public async Task An_image_that_differs_from_the_offered_one_fails_the_create(string what, string sentence)
    {
        var images = await CopyTinyAsync();
        await using var world = await RealWorld.StartAsync(changes: ("CAPSUL_IMAGES", images));
        // The Spoke must not report the loss to its Hub before the create is accepted.
        await world.Spoke!.SignalAsync("STOP");
        var id = await world.Person.CreateAsync("f1-xs", TinyImage.Id, "unlucky", Cancel);
        if (what == "deleted")
        {
            Directory.Delete(Path.Combine(images, TinyImage.Id), recursive: true);
        }
        else
        {
            await using var disk = new FileStream(DiskOfTiny(images), FileMode.Open, FileAccess.ReadWrite);
            disk.Position = disk.Length / 2;
            disk.WriteByte((byte)(disk.ReadByte() + 1));
        }
        await world.Spoke.SignalAsync("CONT");
        await ShouldFailAsync(world, id, sentence);
    }

    [Fact]
    public async Task A_full_disk_fails_the_create_and_existing_vms_can_be_deleted()
    {
        var mounted = TestFolder.Make("small");
        await new Command("mount", "-t", "tmpfs", "-o", "size=8g,mode=0755", "tmpfs", mounted).RunAsync(Cancel);
        try
        {
            await using var world =
                await RealWorld.StartAsync(spokeFolder: mounted, changes: ("CAPSUL_DISK_OVERCOMMIT", "10"));
            var (before, ssh) = await world.MakeVmAsync();
            await world.Spoke!.SignalAsync("STOP");
            var id = await world.Person.CreateAsync("f1-xs", TinyImage.Id, "unlucky", Cancel);
            await FillAsync(mounted);
            await world.Spoke.SignalAsync("CONT");
            await ShouldFailAsync(world, id, "The host's disk is full.");
            world.Spoke.HasExited.ShouldBeFalse();
            // It exists; whether it keeps running depends on what it does: QEMU pauses a guest whose write fails for
            // lack of space.
            (await world.ColumnAsync(before, "state || ' ' || observed")).ShouldBe("running on");
            RealWorld.Qemus(before).Count.ShouldBe(1);

            await world.Person.DeleteAsync(before, Cancel);
            await world.AwaitColumnAsync(before, "state", "deleted", RealWorld.EndLimit);
            await world.ShouldBeGoneAsync(before, ssh.Port);
        }
        finally
        {
            await new Command("umount", "-l", mounted).RunAsync(CancellationToken.None);
        }
    }

    /// <summary>
    /// Shrinks the file system to its contents, so that no byte is free and no memory is used. If a guest writes in
    /// between, its contents grow: then try again.
    /// </summary>
    static Task FillAsync(string mounted) => Until.TrueAsync("the file system is full", RealWorld.EndLimit, async () =>
    {
        var used = (await new Command("df", "--output=used", "--block-size=1K", mounted).RunAsync(Cancel))
            .Output.Split('\n')[1].Trim();
        return (await new Command("mount", "-o", $"remount,size={used}k", mounted).TryRunAsync(Cancel)).ExitCode == 0
            && new DriveInfo(mounted).AvailableFreeSpace == 0;
    });

    [Fact]
    public async Task A_libvirtd_that_dies_is_replaced_and_the_vm_keeps_running()
    {
        await using var world = await RealWorld.StartAsync();
        var (id, ssh) = await world.MakeVmAsync();
        var qemu = RealWorld.Qemus(id);
        await world.SignalLibvirtdAsync("-KILL");
        await world.Person.LoginAsync(ssh, "true", Cancel);
        await Until.TrueAsync(
            "the host reports a working hypervisor again", RealWorld.EndLimit, () => world.Db.FindAsync<bool>(
                "SELECT online AND problem = '' AND last_seen > now() - interval '6 seconds' FROM hosts",
                null, Cancel));
        await world.AwaitColumnAsync(id, "observed", "on", RealWorld.EndLimit);
        await Until.TrueAsync("it is charged", RealWorld.EndLimit, () => world.IsChargedAsync(id));
        RealWorld.Qemus(id).ShouldBe(qemu);
        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await world.ShouldBeGoneAsync(id, ssh.Port);
    }

    [Fact]
    public async Task A_libvirtd_that_hangs_makes_its_vms_unknown_and_free_until_it_responds()
    {
        await using var world = await RealWorld.StartAsync();
        var (id, ssh) = await world.MakeVmAsync();
        var qemu = RealWorld.Qemus(id);
        await world.SignalLibvirtdAsync("-STOP");
        try
        {
            await world.AwaitColumnAsync(id, "observed", "unknown", RealWorld.EndLimit);
            // The VM's own round may see it before the host's next heartbeat does.
            await Until.TrueAsync("the host is offline", RealWorld.EndLimit, async () =>
                !await world.Db.FindAsync<bool>("SELECT online FROM hosts", null, Cancel));
            (await world.IsChargedAsync(id)).ShouldBeFalse();
            (await world.Door.PageAsync($"/vms/{id}", Cancel))
                .ShouldContain("You are not charged until we hear from it again.");
            await world.Person.LoginAsync(ssh, "true", Cancel);
        }
        finally
        {
            await world.SignalLibvirtdAsync("-CONT");
        }
        await world.AwaitColumnAsync(id, "observed", "on", RealWorld.EndLimit);
        (await world.IsChargedAsync(id)).ShouldBeTrue();
        (await world.ColumnAsync(id, "state")).ShouldBe("running");
        RealWorld.Qemus(id).ShouldBe(qemu);
    }

    [Fact]
    public async Task A_spoke_that_was_silent_for_long_is_trusted_again()
    {
        await using var world = await RealWorld.StartAsync(changes: ("CAPSUL_HYPERVISOR", "simulated"));
        var (id, _) = await world.MakeVmAsync();
        await world.Spoke!.SignalAsync("STOP");
        await world.AwaitColumnAsync(id, "observed", "unknown", RealWorld.EndLimit);
        (await world.IsChargedAsync(id)).ShouldBeFalse();
        await world.Spoke.SignalAsync("CONT");
        await world.AwaitColumnAsync(id, "observed", "on", RealWorld.EndLimit);
        (await world.IsChargedAsync(id)).ShouldBeTrue();
    }

    [Fact]
    public async Task A_guest_whose_ssh_never_responds_is_given_up_with_its_last_console_output()
    {
        var images = await CopyTinyAsync();
        await AddMuteAsync(images);
        await using var world =
            await RealWorld.StartAsync(changes: [("CAPSUL_IMAGES", images), ("CAPSUL_CREATE_DEADLINE_SECONDS", "25")]);
        await world.AwaitImageAsync("mute");
        var id = await world.Person.CreateAsync("f1-xs", "mute", "unlucky", Cancel);
        await ShouldFailAsync(world, id, "SSH did not respond in time. You were not charged");
        (await world.Door.PageAsync($"/vms/{id}", Cancel)).ShouldContain("I only sleep");
    }

    /// <summary>Tiny's kernel with an initrd that prints something and then does nothing.</summary>
    static async Task AddMuteAsync(string images)
    {
        var store = new ImageStore(images);
        var tiny = store.Current(TinyImage.Id)!;
        var files = store.MakeScratch();
        foreach (var name in (string[])["kernel", "disk.qcow2"])
            File.Copy(store.FileOf(tiny, name), Path.Combine(files, name));
        await using (var output = File.Create(Path.Combine(files, "initrd")))
        {
            using var cpio = new CpioWriter(output);
            cpio.AddFolder("dev");
            cpio.AddFile("bin/busybox", await File.ReadAllBytesAsync("/bin/busybox", Cancel),
                (UnixFileMode)0b111_101_101);
            cpio.AddLink("bin/sh", "busybox");
            cpio.AddText("init", "#!/bin/sh\n/bin/busybox mount -t devtmpfs dev /dev\nexec >/dev/ttyS0\n"
                + "echo I only sleep\nexec /bin/busybox sleep 100000\n", (UnixFileMode)0b111_101_101);
        }
        await store.AddAsync(tiny with { Id = "mute", Title = "A guest that says nothing" }, files, Cancel);
    }

    static async Task ShouldFailAsync(RealWorld world, string id, string sentence)
    {
        await world.AwaitColumnAsync(id, "state", "failed", RealWorld.RunLimit);
        var page = System.Net.WebUtility.HtmlDecode(await world.Door.PageAsync($"/vms/{id}", Cancel));
        page.ShouldContain(sentence);
        page.ShouldContain("you were not charged");
        (await world.WasChargedAsync(id)).ShouldBeFalse();
        await world.ShouldBeGoneAsync(id);
    }
}
