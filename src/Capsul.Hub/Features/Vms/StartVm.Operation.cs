namespace Capsul.Hub.Features.Vms;

public sealed class StartVmOperation() : PowerOperation(VmActions.Start);
