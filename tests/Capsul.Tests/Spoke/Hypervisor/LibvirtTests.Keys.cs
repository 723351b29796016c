using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>Keys that a guest takes at its next start.</summary>
public sealed partial class LibvirtTests
{
    [Fact]
    public async Task Other_keys_are_taken_at_the_next_start_once_and_the_host_key_stays()
    {
        var vm = real.Spec("keyskeyske", 46);
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        // The owner has let another key in, which goes, and lost the one that counts.
        (await real.SshAsync(vm, "echo ssh-ed25519 AAAA >>.ssh/authorized_keys; echo mine > note; sync"))
            .ExitCode.ShouldBe(0);
        var hostKey = await KeyAsync();
        var other = Path.Combine(real.Settings.Data, "other");
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other).RunAsync(None);
        var line = (await File.ReadAllTextAsync(other + ".pub", None)).Trim();
        var changed = vm with { HasRun = true, SshKeys = [line], KeySet = new KeySet(1_700_000_000, "capsul") };
        await RestartAsync(changed);
        (await SaidAsync()).ShouldBe(1_700_000_000);
        (await real.SshAsync(vm, "true")).ExitCode.ShouldNotBe(0);
        (await real.SshAsync(vm, "cat note .ssh/authorized_keys", key: other)).Output.Trim().ShouldBe($"mine\n{line}");
        (await KeyAsync()).ShouldBe(hostKey);

        // What the owner changes after that stays, whatever the seed says.
        (await real.SshAsync(vm, $"echo '{real.PublicKey}' >.ssh/authorized_keys; sync", key: other))
            .ExitCode.ShouldBe(0);
        await RestartAsync(changed);
        (await real.SshAsync(vm, "cat note")).Output.Trim().ShouldBe("mine");
        (await SaidAsync()).ShouldBe(1_700_000_000);
        await real.Libvirt.RemoveAsync(vm.Id, None);

        async Task RestartAsync(VmSpec next)
        {
            await real.Libvirt.ShutdownAsync(vm.Id, None);
            await real.WaitForPowerAsync(vm, DomainPower.Off);
            await real.CreateAsync(next);
            await real.WaitForSshAsync(next);
        }

        Task<string> ConsoleAsync() => real.Libvirt.ConsoleTailAsync(vm.Id, SshReadiness.ConsoleBytes, None);

        async Task<string> KeyAsync() => ConsoleText.HostKeys(await ConsoleAsync()).ShouldHaveSingleItem().Key;

        async Task<long> SaidAsync() => ConsoleText.KeySet(await ConsoleAsync());
    }
}
