namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Rescue systems: a disk of their own and a seed, with the VM's disk as the third one. Address, console and firewall
/// are the VM's.
/// </summary>
public sealed partial class Libvirt
{
    /// <summary>What its host name is: nobody takes it for the VM's own system.</summary>
    const string RescueName = "rescue";

    const int RescueGb = 1;

    /// <summary>The rescue system as a VM of its own.</summary>
    static VmSpec RescueOf(VmSpec vm) => vm with
    {
        Name = RescueName,
        ImageId = vm.Rescue!.ImageId,
        ImageSha256 = vm.Rescue.ImageSha256,
        SshKeys = vm.Rescue.SshKeys,
        DiskGb = RescueGb,
        KeySet = null,
    };

    Task MakeRescueAsync(VmSpec vm, CancellationToken cancel) =>
        MakeFilesAsync(RescueOf(vm), RescueDisk(vm), RescueSeed(vm), cancel);

    async Task<string> RescueDomainAsync(VmSpec vm, CancellationToken cancel)
    {
        var image = await ImageAsync(RescueOf(vm), cancel);
        var (kernel, initrd) = (images.Kernel(image), images.Initrd(image));
        var files = new DomainFiles(
            Inside(RescueDisk(vm)), Inside(RescueSeed(vm)), Inside(ConsoleFile(vm.Id)), ConsoleSocketInside(vm.Id),
            kernel is null ? null : Inside(kernel), initrd is null ? null : Inside(initrd))
        {
            Rescued = Inside(DiskFile(vm)),
            RescuedFormat = vm.IsAdopted ? RequireTaken(vm).Format : "qcow2",
        };
        return DomainXml.Write(vm, image.CommandLine, files, kvm);
    }

    /// <summary>Removes all rescue systems of a VM but one.</summary>
    /// <param name="id">The VM.</param>
    /// <param name="keep">0: none.</param>
    /// <param name="cancel">Cancels.</param>
    async Task DropRescuesAsync(string id, long keep, CancellationToken cancel)
    {
        foreach (var file in Files().ToList())
        {
            if (StorageXml.RescueOf(id, Path.GetFileName(file)) is not { } rescue || rescue == keep) continue;
            await DeleteVolumeAsync(id, StorageXml.RescueVolume(id, rescue), cancel);
            File.Delete(file);
        }
    }

    string RescueDisk(VmSpec vm) => Path.Combine(disks, StorageXml.RescueVolume(vm.Id, vm.Rescue!.Number));

    string RescueSeed(VmSpec vm) =>
        Path.Combine(seeds, $"{StorageXml.RescueStem(vm.Id, vm.Rescue!.Number)}.iso");
}
