using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Vms;

/// <summary>When the keys of a VM can be changed.</summary>
public sealed class ChangeKeysTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Unknown_is_not_called_off()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.FindAsync(await rows.RunningVmAsync(Cancel), Cancel);
        ChangeKeys.Decide(vm, 1, 1).ShouldBeNull();
        ChangeKeys.Decide(vm with { Observed = "off" }, 1, 1)!.Kind.ShouldBe(ProblemKind.Conflict);
        ChangeKeys.Decide(vm with { Observed = "unknown" }, 1, 1)!.Message.ShouldBe(
            $"We lost contact with {VmRows.Host}, the host of this capsul.");
        ChangeKeys.Decide(vm, 0, 0)!.Field.ShouldBe("KeyIds");
        ChangeKeys.Decide(vm, 2, 1)!.Field.ShouldBe("KeyIds");
        ChangeKeys.Decide(null, 1, 1).ShouldBe(VmAction.NotFound);
    }
}
