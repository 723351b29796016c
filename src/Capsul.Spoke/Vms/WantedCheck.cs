using System.Net;
using System.Net.Sockets;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>
/// Validates a wanted state before it is used. The Hub is trusted with the VMs, not with the host: IDs become file
/// names, and MAC addresses become part of firewall rules.
/// </summary>
public static class WantedCheck
{
    const int MaxVcpus = 1024, MaxMemoryMb = 1 << 26, MaxDiskGb = 1 << 20, MaxGraceSeconds = 24 * 3600, MaxKeys = 1000,
        MaxHostKeys = 16, FirstMulticast = 224;

    public static bool IsSound(WantedVm vm) =>
        Formats.IsVmId(vm.Id) && vm.Power is Power.On or Power.Off or Power.Gone
        && vm.Generation >= 0 && vm.Restarts >= 0 && vm.Disk >= 0
        && vm.StopGraceSeconds is >= 0 and <= MaxGraceSeconds && IsShape(vm) && IsNetwork(vm) && IsNetwork6(vm)
        && vm.FurtherAddresses.Count <= Protocol.MaxFurtherAddresses && vm.FurtherAddresses.All(IsFurther)
        && IsFirewall(vm.Firewall) && vm.Ports.Count <= Protocol.MaxPorts && vm.Ports.All(IsPort)
        && (vm.Adopt.Length == 0 || Formats.IsUuid(vm.Adopt))
        && vm.Moves >= 0 && IsTransfer(vm) && IsRescue(vm.Rescue)
        && (vm.KeySet is null || (vm.KeySet.Number > 0 && Formats.IsLoginUser(vm.KeySet.LoginUser)))
        && vm.HostKeys.Count <= MaxHostKeys && vm.HostKeys.All(IsHostKey)
        && vm.SshKeys.Count <= MaxKeys && vm.SshKeys.All(IsKey)
        && vm.Record.Length <= Protocol.MaxRecordBytes && vm.Signature.Length <= Protocol.MaxSignatureBytes;

    static bool IsShape(WantedVm vm) =>
        vm.Vcpus is >= 1 and <= MaxVcpus && vm.MemoryMb is >= 1 and <= MaxMemoryMb && vm.DiskGb is >= 1 and <= MaxDiskGb
        && Formats.IsLabel(vm.Name) && Formats.IsImageId(vm.ImageId) && Formats.IsSha256(vm.ImageSha256);

    /// <summary>A VM that is being deleted may have no address anymore.</summary>
    static bool IsNetwork(WantedVm vm) =>
        (vm is { Power: Power.Gone, Address: "", Mac: "" }) || (Formats.IsMac(vm.Mac)
        && IPAddress.TryParse(vm.Address, out var address) && address.AddressFamily == AddressFamily.InterNetwork);

    static bool IsNetwork6(WantedVm vm) => vm.Address6.Length == 0
        || (IPAddress.TryParse(vm.Address6, out var address) && address is
        {
            AddressFamily: AddressFamily.InterNetworkV6, IsIPv6LinkLocal: false, IsIPv6Multicast: false, ScopeId: 0,
            IsIPv4MappedToIPv6: false,
        } && !IPAddress.IsLoopback(address) && !address.Equals(IPAddress.IPv6Any));

    /// <summary>As it is written in rules: not 1.1 for 1.0.0.1.</summary>
    static bool IsFurther(string text) => IPAddress.TryParse(text, out var address)
        && address.AddressFamily == AddressFamily.InterNetwork && address.ToString() == text
        && !address.Equals(IPAddress.Any) && !address.Equals(IPAddress.Broadcast) && !IPAddress.IsLoopback(address)
        && address.GetAddressBytes()[0] < FirstMulticast;

    static bool IsPort(WantedPort port) =>
        port.VmPort is >= 1 and <= 65535 && port.HostPort is >= 1 and <= 65535
        && port.Protocol is (IpProtocol.None or IpProtocol.Tcp or IpProtocol.Udp);

    static bool IsFirewall(WantedFirewall? firewall) => firewall is null
        || (Formats.IsTransferId(firewall.Owner) && firewall.Rules.Count <= Protocol.MaxFirewallRules
            && firewall.Rules.All(Formats.IsRule));

    /// <summary>A disk is only sent or received while the VM is off.</summary>
    static bool IsTransfer(WantedVm vm) => vm.Transfer is not { } transfer
        || (vm.Power == Power.Off && Formats.IsTransferId(transfer.Id)
            && transfer.Direction == (vm.IsCopy ? Direction.Receive : Direction.Send));

    static bool IsRescue(WantedRescue? rescue) => rescue is null
        || (rescue.Number > 0 && Formats.IsImageId(rescue.ImageId) && Formats.IsSha256(rescue.ImageSha256)
            && rescue.SshKeys.Count <= MaxKeys && rescue.SshKeys.All(IsKey));

    static bool IsHostKey(SshHostKey key) => key.Type.Length + key.Key.Length is > 0 and <= Formats.MaxKeyChars
        && !key.Type.Any(IsBlank) && !key.Key.Any(IsBlank);

    static bool IsBlank(char c) => char.IsControl(c) || char.IsWhiteSpace(c);

    static bool IsKey(string line) => line.Length <= Formats.MaxKeyChars + 64 && !line.Any(char.IsControl);
}
