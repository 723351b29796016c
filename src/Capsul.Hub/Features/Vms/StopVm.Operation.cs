namespace Capsul.Hub.Features.Vms;

public sealed class StopVmOperation() : PowerOperation(VmActions.Stop);
