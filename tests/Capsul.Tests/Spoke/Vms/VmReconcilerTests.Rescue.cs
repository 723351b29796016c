using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Vms;

/// <summary>Rescue systems.</summary>
public sealed partial class VmReconcilerTests
{
    WantedVm Rescue(long number, long generation, Power power = Power.On)
    {
        var wanted = Wanted(power, generation);
        wanted.HasRun = true;
        if (number > 0)
            wanted.Rescue = new WantedRescue
            {
                Number = number,
                ImageId = image.Id,
                ImageSha256 = image.Sha256,
                SshKeys = { "ssh-ed25519 BBBB" },
            };
        return wanted;
    }

    Task AwaitRescueAsync(long number, long generation) => AwaitAsync($"it runs from rescue system {number}",
        r => r is { Power: Power.On, Phase: Phase.Ready, Problem: "" }
            && (r.Rescue, r.Generation) == (number, generation));

    [Fact]
    public async Task A_rescue_system_has_its_own_host_key_and_is_removed_when_it_is_over()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var own = hypervisor.Contents[Id];
        reconciler.Want(1, Rescue(7, 2)).ShouldBeTrue();
        await AwaitRescueAsync(7, 2);
        var (number, content) = hypervisor.RescueDisks[Id];
        number.ShouldBe(7);
        reports.Last().HostKeys.ShouldHaveSingleItem().Key.ShouldBe(content.HostKey);
        hypervisor.Contents[Id].ShouldBe(own, "its own disk was not booted");
        records.LoadAll().Single().Spec.Rescue!.SshKeys.ShouldBe(["ssh-ed25519 BBBB"]);

        reconciler.Want(1, Rescue(0, 3)).ShouldBeTrue();
        await AwaitRescueAsync(0, 3);
        reports.Last().HostKeys.ShouldHaveSingleItem().Key.ShouldBe(own.HostKey);
        hypervisor.Contents[Id].ShouldBe(own with { Boots = 2 });
        await HoldsAsync(() => !hypervisor.RescueDisks.ContainsKey(Id));
        reconciler.Want(1, Rescue(9, 4)).ShouldBeTrue();
        await AwaitRescueAsync(9, 4);
        hypervisor.RescueDisks[Id].Content.HostKey.ShouldNotBe(content.HostKey, "each is another one");
    }

    [Fact]
    public async Task A_reboot_of_the_host_and_a_spoke_that_is_started_again_bring_it_back()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        reconciler.Want(1, Rescue(7, 2)).ShouldBeTrue();
        await AwaitRescueAsync(7, 2);
        var key = reports.Last().HostKeys.Single().Key;
        hypervisor.Reboot();
        reconciler.LookNow();
        await HoldsAsync(() => hypervisor.RescueDisks[Id].Content.Boots == 2);
        await AwaitRescueAsync(7, 2);
        reports.Last().HostKeys.Single().Key.ShouldBe(key);
        var stored = records.LoadAll().Single();
        (stored.Spec.Boot, stored.KeysOf(7).Single().Key).ShouldBe((new VmBoot(0, 7), key));
        stored.Answering(1, Rescue(0, 3)).KeysOf(0).ShouldBe(stored.HostKeys);
        stored.Answering(1, Rescue(8, 3)).KeysOf(8).ShouldBeEmpty();
    }

    [Fact]
    public async Task It_can_be_stopped_and_started_and_removed()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        reconciler.Want(1, Rescue(7, 2)).ShouldBeTrue();
        await AwaitRescueAsync(7, 2);
        reconciler.Want(1, Rescue(7, 3, Power.Off)).ShouldBeTrue();
        await AwaitAsync("it is off", r => (r.Power, r.Generation) == (Power.Off, 3));
        hypervisor.RescueDisks.ContainsKey(Id).ShouldBeTrue();
        reconciler.Want(1, Rescue(7, 4)).ShouldBeTrue();
        await AwaitRescueAsync(7, 4);
        // A database that does not know of the rescue.
        reconciler.Want(2, Rescue(0, 1, Power.Off)).ShouldBeTrue();
        await HoldsAsync(() => !hypervisor.RescueDisks.ContainsKey(Id));
        reconciler.Want(2, Rescue(0, 2, Power.Gone)).ShouldBeTrue();
        await AwaitAsync("it is gone", r => r.Power == Power.Gone);
        hypervisor.Contents.ShouldBeEmpty();
    }

    [Theory]
    [InlineData(Verb.MakeDisk, FaultKind.FailFinal)]
    [InlineData(Verb.MakeDisk, FaultKind.Lie)]
    [InlineData(Verb.FindBoot, FaultKind.Lie)]
    [InlineData(Verb.Define, FaultKind.Fail)]
    [InlineData(Verb.Start, FaultKind.Lie)]
    [InlineData(Verb.Start, FaultKind.LoseAnswer)]
    [InlineData(Verb.DropDisks, FaultKind.LoseAnswer)]
    public async Task Whatever_fails_its_own_disk_and_host_keys_are_there_afterwards(Verb verb, FaultKind kind)
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var own = hypervisor.Contents[Id];
        hypervisor.Inject(verb, new Fault(kind, Message: "It failed."));
        reconciler.Want(1, Rescue(7, 2)).ShouldBeTrue();
        await HoldsAsync(() => hypervisor.Rescued.ContainsKey(Id) || reports.Any(r => r.Problem == "It failed."));
        reconciler.Want(1, Rescue(0, 3)).ShouldBeTrue();
        await AwaitRescueAsync(0, 3);
        hypervisor.Contents[Id].DiskId.ShouldBe(own.DiskId);
        reports.Last().HostKeys.ShouldHaveSingleItem().Key.ShouldBe(own.HostKey);
        await HoldsAsync(() => !hypervisor.RescueDisks.ContainsKey(Id));
    }

    [Fact]
    public async Task Without_the_image_it_is_refused_in_words_and_the_vm_is_as_it_was()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var unknown = Rescue(7, 2);
        unknown.Rescue.ImageId = "none";
        reconciler.Want(1, unknown).ShouldBeTrue();
        await AwaitAsync("it is refused",
            r => r is { ProblemFinal: true, Problem: "The image none is not on this host." });
        reconciler.Want(1, Rescue(0, 3)).ShouldBeTrue();
        await AwaitRescueAsync(0, 3);
    }

    [Fact]
    public void A_rescue_that_is_not_sound_is_not_taken()
    {
        WantedCheck.IsSound(Rescue(7, 1)).ShouldBeTrue();
        foreach (var spoil in (Action<WantedRescue>[])[r => r.Number = 0, r => r.ImageId = "../tiny",
            r => r.ImageSha256 = "0", r => r.SshKeys.Add("ssh-ed25519 A\nevil")])
        {
            var wanted = Rescue(7, 1);
            spoil(wanted.Rescue);
            WantedCheck.IsSound(wanted).ShouldBeFalse();
        }
    }
}
