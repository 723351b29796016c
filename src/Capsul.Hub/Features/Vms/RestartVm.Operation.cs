namespace Capsul.Hub.Features.Vms;

public sealed class RestartVmOperation() : PowerOperation(VmActions.Restart);
