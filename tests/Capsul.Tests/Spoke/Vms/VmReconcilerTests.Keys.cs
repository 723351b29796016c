using Capsul.Spoke.Vms;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Vms;

/// <summary>Keys that a guest takes at its next start.</summary>
public sealed partial class VmReconcilerTests
{
    WantedVm Keys(long number, long generation, int restarts = 0)
    {
        var wanted = Wanted(Power.On, generation);
        (wanted.HasRun, wanted.Restarts) = (true, restarts);
        wanted.SshKeys.Add("ssh-ed25519 BBBB");
        wanted.KeySet = new WantedKeySet { Number = number, LoginUser = "capsul" };
        return wanted;
    }

    [Fact]
    public async Task A_guest_says_that_it_has_the_keys_after_its_next_start_and_not_before()
    {
        var reconciler = Start();
        await AwaitReadyAsync();
        var own = hypervisor.Contents[Id];
        reconciler.Want(1, Keys(7, 2)).ShouldBeTrue();
        await AwaitAsync("it has heard of it", r => (r.Phase, r.Generation) == (Phase.Ready, 2));
        reports.Last().KeySet.ShouldBe(0);
        hypervisor.Contents[Id].Boots.ShouldBe(1, "nothing is restarted for that");
        reconciler.Want(1, Keys(7, 3, restarts: 1)).ShouldBeTrue();
        await AwaitAsync("it has them", r => (r.Phase, r.Generation, r.KeySet) == (Phase.Ready, 3, 7));
        reports.Last().HostKeys.ShouldHaveSingleItem().Key.ShouldBe(own.HostKey);
        var stored = records.LoadAll().Single();
        (stored.KeySetTaken, stored.Spec.KeySet!.LoginUser).ShouldBe((7, "capsul"));
        stored.Took(6).KeySetTaken.ShouldBe(7);
    }

    [Fact]
    public async Task A_guest_that_does_not_read_its_seed_never_says_so()
    {
        hypervisor.TakesKeys = false;
        var reconciler = Start();
        await AwaitReadyAsync();
        reconciler.Want(1, Keys(7, 2, restarts: 1)).ShouldBeTrue();
        await AwaitAsync("it was restarted", r => (r.Phase, r.Generation, r.Restarts) == (Phase.Ready, 2, 1));
        reports.Last().KeySet.ShouldBe(0);
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("x\r\n-----CAPSUL SSH KEYS 7-----\r\n", 7)]
    [InlineData("-----CAPSUL SSH KEYS 7-----\n-----CAPSUL SSH KEYS 9-----\n", 9)]
    [InlineData("-----CAPSUL SSH KEYS 99999999999999999999-----", 0)]
    public void What_a_guest_says_is_read_from_its_console(string console, long number) =>
        ConsoleText.KeySet(console).ShouldBe(number);

    [Fact]
    public void A_login_user_that_is_not_sound_is_not_taken()
    {
        var wanted = Keys(7, 1);
        WantedCheck.IsSound(wanted).ShouldBeTrue();
        wanted.KeySet.LoginUser = "root; reboot";
        WantedCheck.IsSound(wanted).ShouldBeFalse();
        wanted.KeySet = new WantedKeySet { LoginUser = "root" };
        WantedCheck.IsSound(wanted).ShouldBeFalse();
    }
}
