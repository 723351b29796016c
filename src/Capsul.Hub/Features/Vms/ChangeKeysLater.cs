using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Replaces the SSH keys of a VM at its next start, where no agent answers: they are put in its seed, and the system
/// inside takes them from there. The rows follow when it has said so on its console.
/// </summary>
public static class ChangeKeysLater
{
    /// <summary>The refusal, or null.</summary>
    /// <param name="vm">The VM, or null.</param>
    /// <param name="chosen">How many keys were chosen.</param>
    /// <param name="found">How many of them the account has.</param>
    /// <param name="renewsSeeds">Whether the host's Spoke can do that.</param>
    public static Problem? Decide(VmRow? vm, int chosen, int found, bool renewsSeeds) => vm switch
    {
        null or { Deleted: not null } => VmAction.NotFound,
        _ when ChangeKeys.Check(chosen, found) is { } wrong => wrong,
        { InRescue: true } => RescueVm.InRescue,
        { Image: Protocol.AdoptedImage } =>
            Conflict("This capsul was adopted, and has no seed from which it could take keys."),
        { State: not ("running" or "stopped") } => Conflict($"This capsul is {vm.State}. Wait until that has ended."),
        _ when !renewsSeeds => Conflict(
            $"The software of host {vm.Host} is too old to change keys at the next start. Ask the operators to upgrade "
            + "it."),
        _ => null,
    };

    static Problem Conflict(string sentence) => new(ProblemKind.Conflict, sentence);

    /// <param name="email">The account that asks; null: an operator.</param>
    /// <param name="chosen">Of the account's keys; null: all that it has.</param>
    /// <returns>How many keys it will have.</returns>
    public static Task<Outcome<int>> RunAsync(Db db, string actor, string? email, string id,
        IReadOnlyList<long>? chosen, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            var (vm, _) = await RescueVm.LockAsync(transaction, email, id, cancel);
            var keyIds = chosen?.Distinct().ToArray();
            var keys = vm is null ? new KeyLinesRow("", "") : (await transaction.FindAsync<KeyLinesRow>(
                ReinstallSql.ChosenKeys, new { vm.Email, keyIds }, cancel))!;
            var found = keys.Keys.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length;
            var renews = vm is not null
                && await transaction.FindAsync<bool>(KeyChangeSql.RenewsSeeds, new { host = vm.Host }, cancel);
            if (Decide(vm, keyIds?.Length ?? found, found, renews) is { } problem) return problem;
            await transaction.ExecuteAsync(KeyChangeSql.Withdraw, new { vm = id }, cancel);
            await transaction.ExecuteAsync(KeyChangeSql.Insert,
                new { vm = id, now = time.GetUtcNow().UtcDateTime, keys.Keys, keys.KeyNames }, cancel);
            await transaction.RenewAsync(vm!, cancel);
            await transaction.AuditAsync(actor, "change_keys_later", id, $"{found} keys of {vm!.LoginUser}", cancel);
            return found;
        }, cancel);

    /// <summary>The guest has said that it has them. The host's row is locked, or nothing after it.</summary>
    internal static async Task FinishAsync(
        NpgsqlTransaction transaction, ObservedRow vm, DateTime now, CancellationToken cancel)
    {
        var change = new { vm = vm.Id, number = vm.KeyChange, now };
        await transaction.ExecuteAsync(KeyChangeSql.Done, change, cancel);
        await transaction.ExecuteAsync(VmSql.DeleteKeys, new { id = vm.Id }, cancel);
        await transaction.ExecuteAsync(KeyChangeSql.PutKeys, change, cancel);
        // Its recovery record names the keys that it has.
        await transaction.RenewAsync(vm.Id, vm.Host, cancel);
    }
}
