using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// What a domain is started from. libvirt knows it, of the running domain and of the definition: nothing is written
/// down beside it that could be wrong.
/// </summary>
public sealed partial class Libvirt
{
    public Task<VmBoot?> FindBootAsync(string id, CancellationToken cancel)
    {
        Require(id);
        return libvirt.CallAsync($"find out what {id} runs from", Quick, connect =>
        {
            using var domain = Lookup(connect, id);
            if (domain is null) return null;
            Check(virDomainGetState(domain, out var state, out _, 0));
            return ToPower(state) == DomainPower.On ? BootOf(id, domain, flags: 0) : null;
        }, cancel);
    }

    /// <summary>
    /// Host keys are read from the log of the console. If it is to start from something else, those in there are of
    /// another system, and could be taken for its own.
    /// </summary>
    void ForgetConsole(ConnectHandle connect, VmSpec vm)
    {
        using var domain = Lookup(connect, vm.Id);
        if (domain is null) return;
        Check(virDomainGetState(domain, out var state, out _, 0));
        if (ToPower(state) == DomainPower.Off && BootOf(vm.Id, domain, Inactive) != vm.Boot)
            File.Delete(ConsoleFile(vm.Id));
    }

    static VmBoot? BootOf(string id, DomainHandle domain, uint flags)
    {
        var text = virDomainGetXMLDesc(domain, flags);
        if (text == 0) throw LastError();
        return DomainXml.ReadBoot(id, Take(text));
    }
}
