using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Vms;

/// <summary>Disks that are made anew.</summary>
public sealed partial class VmReconcilerTests
{
    WantedVm Disk(long disk, long generation, bool keepsOld = false, Power power = Power.On)
    {
        var wanted = Wanted(power, generation);
        (wanted.Disk, wanted.KeepsOldDisk, wanted.HasRun) = (disk, keepsOld, !keepsOld);
        return wanted;
    }

    Task AwaitDiskAsync(long disk, long generation) => AwaitAsync($"it runs from disk {disk}",
        r => r is { Power: Power.On, Phase: Phase.Ready, Problem: "" } && (r.Disk, r.Generation) == (disk, generation));

    [Fact]
    public async Task A_new_disk_has_new_host_keys_and_the_old_one_is_kept_until_it_is_not_wanted()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var old = hypervisor.Contents[Id];
        reconciler.Want(1, Disk(7, 2, keepsOld: true)).ShouldBeTrue();
        await AwaitDiskAsync(7, 2);
        var made = hypervisor.Contents[Id];
        made.DiskId.ShouldNotBe(old.DiskId);
        reports.Last().HostKeys.ShouldHaveSingleItem().Key.ShouldBe(made.HostKey);
        hypervisor.Disks[Id].ShouldBe([0, 7]);

        reconciler.Want(1, Disk(7, 3)).ShouldBeTrue();
        await HoldsAsync(() => hypervisor.Disks[Id].SequenceEqual([7L]));
        hypervisor.Contents[Id].Boots.ShouldBe(1, "nothing was restarted for that");
    }

    [Fact]
    public async Task The_old_disk_is_put_back_with_all_that_is_on_it()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var old = hypervisor.Contents[Id];
        reconciler.Want(1, Disk(7, 2, keepsOld: true)).ShouldBeTrue();
        await AwaitDiskAsync(7, 2);
        reconciler.Want(1, Disk(0, 3)).ShouldBeTrue();
        await AwaitDiskAsync(0, 3);
        hypervisor.Contents[Id].ShouldBe(old with { Boots = 2 });
        reports.Last().HostKeys.ShouldHaveSingleItem().Key.ShouldBe(old.HostKey);
        await HoldsAsync(() => hypervisor.Disks[Id].SequenceEqual([0L]));
    }

    [Theory]
    [InlineData(Verb.MakeDisk, FaultKind.FailFinal)]
    [InlineData(Verb.MakeDisk, FaultKind.Lie)]
    [InlineData(Verb.FindBoot, FaultKind.Lie)]
    [InlineData(Verb.FindBoot, FaultKind.Fail)]
    [InlineData(Verb.Find, FaultKind.Lie)]
    [InlineData(Verb.Start, FaultKind.Lie)]
    [InlineData(Verb.TurnOff, FaultKind.Lie)]
    [InlineData(Verb.DropDisks, FaultKind.Fail)]
    [InlineData(Verb.DropDisks, FaultKind.LoseAnswer)]
    [InlineData(Verb.DropDisks, FaultKind.Lie)]
    public async Task Whatever_fails_the_old_disk_is_not_lost_before_the_new_one_has_booted(Verb verb, FaultKind kind)
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var old = hypervisor.Contents[Id];
        hypervisor.Inject(verb, new Fault(kind, Message: "It failed."));
        reconciler.Want(1, Disk(7, 2, keepsOld: true)).ShouldBeTrue();
        await HoldsAsync(() =>
            hypervisor.Disks[Id].SequenceEqual([0L, 7L]) || reports.Any(r => r.Problem == "It failed."));
        reconciler.Want(1, Disk(0, 3)).ShouldBeTrue();
        await AwaitDiskAsync(0, 3);
        hypervisor.Contents[Id].DiskId.ShouldBe(old.DiskId);
    }

    [Fact]
    public async Task A_removal_that_did_nothing_is_tried_again()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        reconciler.Want(1, Disk(7, 2, keepsOld: true)).ShouldBeTrue();
        await AwaitDiskAsync(7, 2);
        hypervisor.Inject(Verb.DropDisks, new Fault(FaultKind.Lie));
        reconciler.Want(1, Disk(7, 3)).ShouldBeTrue();
        await HoldsAsync(() => hypervisor.Disks[Id].SequenceEqual([7L]));
    }

    [Fact]
    public async Task A_spoke_that_is_started_again_still_knows_the_old_disk()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        reconciler.Want(1, Disk(7, 2, keepsOld: true)).ShouldBeTrue();
        await AwaitDiskAsync(7, 2);
        var stored = records.LoadAll().Single();
        (stored.Disk.Number, stored.OldDisk!.Number, stored.Spec.Disk).ShouldBe((7, 0, 7));
        stored.Answering(1, Disk(0, 3)).Spec.Disk.ShouldBe(0);
        stored.Answering(1, Disk(7, 3)).OldDisk.ShouldBeNull();
    }

    [Fact]
    public async Task A_database_that_does_not_know_of_a_reinstall_does_not_undo_it()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        reconciler.Want(1, Disk(7, 2, keepsOld: true)).ShouldBeTrue();
        await AwaitDiskAsync(7, 2);
        reconciler.Want(1, Disk(7, 3)).ShouldBeTrue();
        await HoldsAsync(() => hypervisor.Disks[Id].SequenceEqual([7L]));
        var disk = hypervisor.Contents[Id];
        reconciler.Want(2, Disk(0, 1)).ShouldBeTrue();
        await AwaitDiskAsync(7, 1);
        hypervisor.Contents[Id].ShouldBe(disk);
        hypervisor.Reboot();
        reconciler.LookNow();
        await HoldsAsync(() => hypervisor.Contents[Id] == disk with { Boots = disk.Boots + 1 });
        reconciler.Want(2, Disk(9, 2, keepsOld: true)).ShouldBeTrue();
        await AwaitDiskAsync(9, 2);
        hypervisor.Disks[Id].ShouldBe([7, 9]);
    }

    [Fact]
    public void A_disk_that_has_been_used_is_never_made_again()
    {
        var used = VmRecord.New(1, Wanted(Power.On, 1)).Answering(1, Disk(7, 2, keepsOld: true)) with { RanUnder = 2 };
        used.Spec.HasRun.ShouldBeTrue();
        used.Answering(1, Disk(0, 3)).Spec.HasRun.ShouldBeTrue("the Hub says so");
        used.Answering(1, Disk(9, 3, keepsOld: true)).Spec.HasRun.ShouldBeFalse();
    }

    static Task HoldsAsync(Func<bool> holds) =>
        Until.TrueAsync("it is so", Limit, () => Task.FromResult(holds()));
}
