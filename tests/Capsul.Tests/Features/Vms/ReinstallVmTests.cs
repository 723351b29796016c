using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Tests.Features.Vms;

/// <summary>Reinstalling in place: what stays, what is new, and what a failure leaves.</summary>
public sealed class ReinstallVmTests
{
    const string Sha = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        HostKey = "AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static VmRow Vm(string state = "running", string image = "tiny", bool isDeleted = false) => new(
        "capsul-0123456789", VmRows.Email, "web", "f1-xs", image, "capsul", VmRows.Host, default,
        isDeleted ? default(DateTime) : null, 5, 1, 512, 10, state, "on", 1, 0, "on", 1, 0, null, 6, "", 0, "", "",
        false, null, false, null, null, 0, 0, 0, false, 0);

    static readonly ImageRow Tiny = new("tiny", "Tiny", "capsul", 1, 128, false);
    static readonly ReinstallHostRow Able = new(true, true, 100_000, false, Sha);
    static readonly ReinstallVm.Input Typed = new("capsul-0123456789", "tiny", [1], "web");

    static Problem? Decide(VmRow? vm, ReinstallVm.Input? input = null, bool isBusy = false, ImageRow? image = null,
        ReinstallHostRow? host = null, int keys = 1) =>
        ReinstallVm.Decide(input ?? Typed, new ReinstallVm.Facts(vm, isBusy, image ?? Tiny, host ?? Able, keys));

    [Fact]
    public void Refuses_in_words()
    {
        Decide(Vm()).ShouldBeNull();
        Decide(Vm("stopped")).ShouldBeNull();
        Decide(null).ShouldBe(VmAction.NotFound);
        Decide(Vm(isDeleted: true)).ShouldBe(VmAction.NotFound);
        Decide(Vm(), isBusy: true)!.Message.ShouldStartWith("Something else is still being done");
        Decide(Vm("failed"))!.Message.ShouldBe(
            "This capsul is failed. Only a running or stopped capsul can be reinstalled.");
        Decide(Vm(image: Protocol.AdoptedImage))!.Message.ShouldContain("was adopted and has no image");
        Decide(Vm(), Typed with { Name = "wbe" })!.ShouldSatisfyAllConditions(
            p => p.Field.ShouldBe("Name"), p => p.Message.ShouldBe("Type web here to confirm that its data may go."));
        Decide(Vm(), keys: 0)!.Field.ShouldBe("KeyIds");
        Decide(Vm(), Typed with { KeyIds = [1, 2] })!.Message.ShouldContain("no longer exists");
        Decide(Vm(), image: Tiny with { MinDiskGb = 20 })!.Message.ShouldBe(
            "Tiny needs a disk of 20 GiB or more; this capsul has 10 GiB.");
        Decide(Vm(), image: Tiny with { MinMemoryMb = 1024 })!.Message.ShouldContain("of memory or more");
        Decide(Vm(), image: Tiny with { Id = "old", Deprecated = true })!.Message.ShouldContain("no longer offered");
        Decide(Vm(), image: Tiny with { Deprecated = true }).ShouldBeNull("it has that image already");
        Decide(Vm(), host: Able with { Online = false })!.Message.ShouldContain("is offline");
        Decide(Vm(), host: Able with { MakesDisksAnew = false })!.Message.ShouldBe(
            "The software of host rack1 is too old to reinstall capsuls. Ask the operators to upgrade it.");
        Decide(Vm(), host: Able with { ImageSha256 = null })!.Field.ShouldBe("Image");
        Decide(Vm(), host: Able with { DiskFreeMb = 100 })!.Kind.ShouldBe(ProblemKind.NoCapacity);
    }

    [Fact]
    public async Task Another_accounts_vm_is_not_found()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.ReinstallAsync(vm, Cancel, email: "eve@example.org")).Problem.ShouldBe(VmAction.NotFound);
        (await rows.CountAsync("reinstalls", "TRUE", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task It_keeps_what_it_is_and_gets_a_new_disk_image_keys_and_host_keys()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await PreparedAsync(rows);
        var before = await rows.FindAsync(vm, Cancel);
        var spans = await rows.CountAsync("usage_spans", "TRUE", Cancel);
        (await rows.ReinstallAsync(vm, Cancel, "other", keys: [await SecondKeyAsync(rows)])).OrThrow();

        (await WantedAsync(rows, vm)).ShouldSatisfyAllConditions(
            w => w.Disk.ShouldBe(rows.Time.GetUtcNow().ToUnixTimeSeconds()), w => w.KeepsOldDisk.ShouldBeTrue(),
            w => w.NewImage.ShouldBe("other"), w => w.NewImageSha256.ShouldBe(Sha),
            w => w.NewKeys.ShouldBe("ssh-ed25519 BBBB"), w => w.Image.ShouldBe("tiny"),
            w => w.Keys.ShouldBe("ssh-ed25519 AAAA"));
        (await rows.FindAsync(vm, Cancel)).ShouldBe(before with
        {
            State = "reinstalling",
            WantedGeneration = before.WantedGeneration + 1,
            Phase = 0,
        }, "nothing is new before it has booted");
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running", "that was the old disk");

        var disk = (await rows.FindReinstallAsync(vm, Cancel))!.Disk;
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r =>
        {
            r.Disk = disk;
            r.HostKeys.Add(new SshHostKey { Type = "ssh-ed25519", Key = HostKey });
        });
        await rows.SettleAsync(Cancel);
        var after = await rows.FindAsync(vm, Cancel);
        after.ShouldBe(before with
        {
            Disk = disk,
            ObservedDisk = disk,
            Image = "other",
            LoginUser = "root",
            WantedGeneration = before.WantedGeneration + 2,
            ObservedGeneration = before.WantedGeneration + 1,
            ObservedAt = after.ObservedAt,
        });
        (await rows.Db.ListAsync<string>("SELECT type || ' ' || key FROM vm_ssh_host_keys", null, Cancel))
            .ShouldBe([$"ssh-ed25519 {HostKey}"], "keys of other types are of the old disk, too");
        (await WantedAsync(rows, vm)).ShouldSatisfyAllConditions(
            w => w.Disk.ShouldBe(disk), w => w.KeepsOldDisk.ShouldBeFalse(), w => w.NewImage.ShouldBeNull(),
            w => w.Image.ShouldBe("other"), w => w.Keys.ShouldBe("ssh-ed25519 BBBB"),
            w => w.KeyNames.ShouldBe("second"));
        (await rows.CountAsync("usage_spans", "TRUE", Cancel)).ShouldBe(spans, "it was charged as before");
        (await rows.CountAsync("ports", $"vm = '{vm}'", Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task A_failure_puts_back_what_there_was_and_the_next_disk_has_another_number()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await PreparedAsync(rows);
        var before = await rows.FindAsync(vm, Cancel);
        (await rows.ReinstallAsync(vm, Cancel, "other")).OrThrow();
        var first = (await rows.FindReinstallAsync(vm, Cancel))!.Disk;
        await rows.ReportAsync(vm, Power.On, Phase.Booting, Cancel, r => r.Disk = first);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Problem.ShouldStartWith("SSH did not respond in time");
        var after = await rows.FindAsync(vm, Cancel);
        (after.State, after.Wanted, after.Image, after.LoginUser, after.Disk)
            .ShouldBe((before.State, before.Wanted, before.Image, before.LoginUser, before.Disk));
        (await WantedAsync(rows, vm)).ShouldSatisfyAllConditions(
            w => w.Disk.ShouldBe(0), w => w.KeepsOldDisk.ShouldBeFalse(), w => w.Keys.ShouldBe("ssh-ed25519 AAAA"));
        // A clock that goes back, or a database that was restored: the Spoke has seen that number.
        rows.Time.Advance(TimeSpan.FromSeconds(1));
        await rows.Db.ExecuteAsync("UPDATE vms SET observed_disk = observed_disk + 100000", null, Cancel);
        (await rows.ReinstallAsync(vm, Cancel)).OrThrow();
        (await rows.FindReinstallAsync(vm, Cancel))!.Disk.ShouldBe(first + 100_001);
    }

    [Fact]
    public async Task A_stopped_one_is_started_and_stopped_again_if_it_fails()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await PreparedAsync(rows);
        (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.ReinstallAsync(vm, Cancel)).OrThrow();
        (await rows.CancelAsync(vm, Cancel)).OrThrow();
        await rows.SettleAsync(Cancel);
        var after = await rows.FindAsync(vm, Cancel);
        (after.State, after.Wanted).ShouldBe(("stopped", "off"));
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("cancelled");
        (await rows.ReinstallAsync(vm, Cancel)).OrThrow();
        await rows.CarryReinstallAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
    }

    [Fact]
    public async Task A_vm_that_is_deleted_with_its_host_leaves_nothing_of_a_reinstall()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await PreparedAsync(rows);
        (await rows.ReinstallAsync(vm, Cancel)).OrThrow();
        await rows.RemoveAllAsync(Cancel);
        (await rows.CountAsync("reinstalls", "TRUE", Cancel)).ShouldBe(0);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(long.MaxValue)]
    public void A_disk_number_that_is_out_of_range_ends_the_connection(long disk) =>
        Should.Throw<RpcException>(() => Intake.Check(new VmReport { Id = "capsul-0123456789", Disk = disk }))
            .Status.Detail.ShouldContain("out of range");

    /// <summary>A running VM with a port, two host keys, and another image on its host.</summary>
    static async Task<string> PreparedAsync(VmRows rows)
    {
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
            VALUES ('other', 'Other', 'root', 1, 128);
            INSERT INTO host_images (host, image, sha256) VALUES ('rack1', 'other', @sha);
            INSERT INTO vm_ssh_host_keys (vm, type, key, fingerprint)
            VALUES (@vm, 'ssh-ed25519', 'AAAA', 'SHA256:a'), (@vm, 'ssh-rsa', 'AAAB', 'SHA256:b');
            INSERT INTO ports (via, host, port, vm, vm_port, opened) VALUES ('host', 'rack1', 31000, @vm, 80, @now);
            """, new { vm, sha = Sha, now = rows.Now }, Cancel);
        return vm;
    }

    static Task<long> SecondKeyAsync(VmRows rows) => rows.Db.FindAsync<long>(
        "INSERT INTO ssh_keys (email, name, type, key, fingerprint, created) VALUES (@email, 'second', 'ssh-ed25519', "
            + "'BBBB', 'SHA256:y', @now) RETURNING id", new { email = VmRows.Email, now = rows.Now }, Cancel);

    static async Task<WantedRow> WantedAsync(VmRows rows, string vm) => (await rows.Db.ListAsync<WantedRow>(
        HostSql.Wanted, new { host = VmRows.Host, since = -1L }, Cancel)).Single(w => w.Id == vm);
}
