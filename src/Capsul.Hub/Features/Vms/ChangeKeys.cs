using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Replaces the SSH keys of a VM that runs, for who has lost one: the agent inside it does that, so nothing is
/// restarted. The rows follow when it has: they say what the VM has.
/// </summary>
public static class ChangeKeys
{
    /// <summary>The refusal, or null.</summary>
    /// <param name="chosen">How many keys were chosen.</param>
    /// <param name="found">How many of them the account has.</param>
    public static Problem? Decide(VmRow? vm, int chosen, int found) => vm switch
    {
        null or { Deleted: not null } => VmAction.NotFound,
        _ when Check(chosen, found) is { } wrong => wrong,
        { InRescue: true } => RescueVm.InRescue,
        { State: "reinstalling" } => new Problem(ProblemKind.Conflict, "This capsul is being reinstalled."),
        { Observed: "unknown" } =>
            new Problem(ProblemKind.Unavailable, $"We lost contact with {vm.Host}, the host of this capsul."),
        { Observed: not "on" } =>
            new Problem(ProblemKind.Conflict, "This capsul is off. Start it; then its agent can change the keys."),
        _ when !Formats.IsLoginUser(vm.LoginUser) =>
            new Problem(ProblemKind.Conflict, "Nobody knows who may log in to this capsul: it was adopted."),
        _ => null,
    };

    /// <summary>What is wrong with the choice itself, or null.</summary>
    internal static Problem? Check(int chosen, int found) =>
        chosen == 0 ? Wrong("Choose at least one SSH key; without one nobody could log in.")
        : chosen != found ? Wrong("One of the chosen SSH keys no longer exists.") : null;

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "KeyIds" };

    /// <returns>How many keys it has now.</returns>
    public static async Task<Outcome<int>> RunAsync(Db db, IHostAgents? agents, string email, string id,
        IReadOnlyList<long> chosen, CancellationToken cancel)
    {
        var keyIds = chosen.Distinct().ToArray();
        var vm = await db.FindAsync<VmRow>(VmSql.Find, new { id, email }, cancel);
        var keys = await db.ListAsync<string>(VmSql.ChosenKeys, new { email, keyIds }, cancel);
        if (Decide(vm, keyIds.Length, keys.Count) is { } problem) return problem;
        if (agents is null) return new Problem(ProblemKind.Unavailable, "No host is connected to this Hub.");
        // Written before: whether they were changed is not known if the answer is lost.
        await db.InTransactionAsync(transaction => transaction.AuditAsync(
            email, "change_keys", id, $"{keys.Count} keys of {vm!.LoginUser}", cancel), cancel);
        if (await agents.SetKeysAsync(vm!.Host, id, vm.LoginUser, keys, cancel) is { } refusal) return refusal;
        return await db.DecideAsync<int>(async transaction =>
        {
            if (await transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel) is not { Deleted: null } now)
                return VmAction.NotFound;
            await transaction.ExecuteAsync(KeyChangeSql.Withdraw, new { vm = id }, cancel);
            await transaction.ExecuteAsync(VmSql.DeleteKeys, new { id }, cancel);
            await transaction.ExecuteAsync(VmSql.InsertKeys, new { vm = id, email, keyIds }, cancel);
            await transaction.RenewAsync(now, cancel);
            return keys.Count;
        }, cancel);
    }
}
