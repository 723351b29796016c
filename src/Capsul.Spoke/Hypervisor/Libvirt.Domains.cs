using Capsul.Foundation;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Domains: define, start, shut down, turn off, remove.</summary>
public sealed partial class Libvirt
{
    /// <summary>virDomainShutdownFlagValues.</summary>
    const uint ByPowerButton = 1, ByAgent = 2;

    /// <summary>
    /// virDomainUndefineFlagsValues: including managed save, snapshot metadata, NVRAM and checkpoint metadata.
    /// </summary>
    const uint UndefineAll = 1 | 2 | 4 | 16;

    public async Task DefineAsync(VmSpec vm, CancellationToken cancel)
    {
        Require(vm.Id);
        var xml = await DomainAsync(vm, cancel);
        var guard = AllowAsync(vm, cancel);
        await libvirt.CallAsync($"define {vm.Id}", Slow, connect =>
        {
            ForgetConsole(connect, vm);
            using var domain = Check(virDomainDefineXMLFlags(connect, xml, 0));
            return true;
        }, cancel);
        await guard;
    }

    async Task<string> DomainAsync(VmSpec vm, CancellationToken cancel)
    {
        if (vm.Rescue is not null) return await RescueDomainAsync(vm, cancel);
        if (!vm.IsAdopted)
        {
            var (kernel, initrd, commandLine) = await BootFilesAsync(vm, cancel);
            return DomainXml.Write(vm, commandLine, FilesOf(vm, kernel, initrd), kvm);
        }
        var taken = RequireTaken(vm);
        return DomainXml.Write(vm, taken.CommandLine, FilesOf(vm, taken), kvm);
    }

    Taken RequireTaken(VmSpec vm) => FindTaken(vm.Id) ?? throw new HypervisorException(
        $"How {vm.Id} boots is not known: the file {TakenFile(vm.Id)} is missing.", final: true);

    public async Task StartAsync(VmSpec vm, CancellationToken cancel)
    {
        Require(vm.Id);
        var began = time.GetTimestamp();
        await AllowAsync(vm, cancel);
        await libvirt.CallAsync($"start {vm.Id}", Slow, connect =>
        {
            using var domain = Lookup(connect, vm.Id)
                ?? throw new LibvirtError(LibvirtError.NoDomain, "it is not defined");
            Check(virDomainGetState(domain, out var state, out _, 0));
            if (ToPower(state) == DomainPower.On) return false;
            Log.Starting(log, vm.Id);
            Check(virDomainCreateWithFlags(domain, 0));
            return true;
        }, cancel);
        var started = time.GetElapsedTime(began);
        if (QemuOf(vm.Id) is { } process) groups.Put(vm, process);
        // After the start, not concurrently: libvirt holds the network's lock for the 0.4 s that this takes, and the
        // start would wait for it. The guest takes longer than that to request its address, and otherwise retries.
        await ServeAddressAsync(vm, cancel);
        Log.Started(log, vm.Id, started.TotalMilliseconds, time.GetElapsedTime(began).TotalMilliseconds);
    }

    /// <summary>
    /// The VM's process ID on this machine; libvirt, in its own process namespace, knows another one.
    /// </summary>
    static int? QemuOf(string id)
    {
        var marker = $"guest={id},";
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out var pid)) continue;
            try
            {
                if (File.ReadAllText(Path.Combine(folder, "cmdline")).Contains(marker, StringComparison.Ordinal))
                    return pid;
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // It exited meanwhile.
            }
        }
        return null;
    }

    public async Task ShutdownAsync(string id, CancellationToken cancel)
    {
        Require(id);
        await libvirt.CallAsync($"shut {id} down", Slow, connect =>
        {
            using var domain = Lookup(connect, id);
            if (domain is null) return false;
            Check(virDomainGetState(domain, out var state, out _, 0));
            if (ToPower(state) == DomainPower.Off) return false;
            // No agent, or one that does not respond (libvirt waits 5 s for it): every guest has the power button.
            if (virDomainShutdownFlags(domain, ByAgent) < 0 && virDomainShutdownFlags(domain, ByPowerButton) < 0)
                OffAlready();
            return true;
        }, cancel);
    }

    public async Task ResumeAsync(string id, CancellationToken cancel)
    {
        Require(id);
        await libvirt.CallAsync($"let {id} go on", Slow, connect =>
        {
            using var domain = Lookup(connect, id);
            if (domain is null) return false;
            Check(virDomainGetState(domain, out var state, out var reason, 0));
            if (ToPower(state, reason) != DomainPower.Paused) return false;
            Log.Resuming(log, id);
            Check(virDomainResume(domain));
            return true;
        }, cancel);
    }

    public async Task TurnOffAsync(string id, CancellationToken cancel)
    {
        Require(id);
        await libvirt.CallAsync($"turn {id} off", Slow, connect =>
        {
            using var domain = Lookup(connect, id);
            return domain is not null && Destroy(domain);
        }, cancel);
    }

    public async Task RemoveAsync(string id, CancellationToken cancel)
    {
        Require(id);
        try
        {
            if (FindTaken(id) is { Ended: false } taken) await GiveBackAsync(id, taken, cancel);
            await Task.WhenAll(RemoveDomainAsync(id, cancel), ForgetAddressAsync(id, cancel));
            DeleteFiles(id);
            if (Directory.Exists(ForeignFolder)) File.Delete(TakenFile(id));
            groups.Remove(id);
            await filter.ForbidAsync(DomainXml.Tap(id), cancel);
        }
        catch (Exception error) when (error is ProblemException or IOException or UnauthorizedAccessException)
        {
            throw new HypervisorException($"Not all of {id} could be removed: {error.Message}", final: false, error);
        }
    }

    async Task RemoveDomainAsync(string id, CancellationToken cancel)
    {
        await libvirt.CallAsync($"remove {id}", Slow, connect =>
        {
            using var domain = Lookup(connect, id);
            if (domain is null) return false;
            Destroy(domain);
            Check(virDomainUndefineFlags(domain, UndefineAll));
            return true;
        }, cancel);
        foreach (var disk in DisksOf(id)) await DeleteVolumeAsync(id, StorageXml.Volume(id, disk), cancel);
        await DropRescuesAsync(id, keep: 0, cancel);
    }

    /// <summary>Turns it off immediately; false if it was off.</summary>
    static bool Destroy(DomainHandle domain)
    {
        Check(virDomainGetState(domain, out var state, out _, 0));
        if (ToPower(state) == DomainPower.Off) return false;
        if (virDomainDestroyFlags(domain, 0) < 0) OffAlready();
        return true;
    }

    /// <summary>It went off between the check and the request, which is fine; anything else is an error.</summary>
    static void OffAlready()
    {
        var error = LastError();
        if (error.Code != LibvirtError.OperationInvalid) throw error;
    }
}
