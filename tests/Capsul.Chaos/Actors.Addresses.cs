using Capsul.Foundation;
using Capsul.Hub.Features.Addresses;
using Capsul.Hub.Features.Hosts;

namespace Capsul.Chaos;

/// <summary>Owners order further addresses, and give them back.</summary>
sealed partial class Actors
{
    async Task ChangeAddressesAsync()
    {
        var vms = await world.Db.ListAsync<string>("SELECT id FROM vms WHERE deleted IS NULL", null, Never);
        if (vms.Count == 0) return;
        var vm = vms.OrderBy(world.NumberOf).ElementAt(Random.Next(vms.Count));
        var further = await world.Db.ListAsync<FurtherAddressRow>(AddressSql.FurtherOfVm, new { id = vm }, Never);
        var returns = further.Count > 0 && Random.Next(2) == 0;
        var problem = returns
            ? (await ReturnAddress.RunAsync(world.Db, Email, Email, vm, further[0].Address, world.Time, Never)).Problem
            : (await OrderAddress.RunAsync(
                world.Db, Email, Email, vm, null, world.Settings, world.Time, Never)).Problem;
        var what = returns ? "give an address back" : "order an address";
        Count($"{what} of {world.NameOf(vm)}{(problem is null ? "" : $": {problem.Message}")}",
            problem is null ? what : $"{what}, refused");
        if (problem is { Kind: not (ProblemKind.Conflict or ProblemKind.NoCapacity) }
            && !await IsSilentAsync(vm, problem))
            world.Report.Violate($"an address was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    /// <summary>Whether it was refused because the VM's host does not answer, and it does not.</summary>
    async Task<bool> IsSilentAsync(string vm, Problem problem) => problem.Kind == ProblemKind.Unavailable
        && await world.Db.FindAsync<string>("SELECT observed FROM vms WHERE id = @vm", new { vm }, Never) == "unknown";
}
