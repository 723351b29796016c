using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Consoles;

/// <summary>
/// Opening a VM's serial console: first a token, which its owner's page or an operator's command asks for, then the
/// stream, which the token opens once.
/// </summary>
public static class OpenConsole
{
    public static readonly TimeSpan TokenLifetime = TimeSpan.FromSeconds(60);

    static readonly Problem Unknown = new(ProblemKind.Forbidden,
        "This console link has expired or was already used. Open the console again.");

    /// <summary>Whether a VM has a console now.</summary>
    public static Problem? Decide(VmRow? vm) => vm switch
    {
        null or { Deleted: not null } => VmAction.NotFound,
        { Observed: "on" } => null,
        { Observed: "unknown", ObservedAt: not null } => new Problem(ProblemKind.Unavailable,
            $"We lost contact with {vm.Host}, the host of this capsul."),
        _ => new Problem(ProblemKind.Conflict, "This capsul is off. Start it to use its console."),
    };

    /// <summary>A token for its owner, which counts only with this session.</summary>
    public static Task<Outcome<string>> AskAsync(
        Db db, string email, byte[] session, string vm, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var row = await transaction.FindAsync<VmRow>(VmSql.Find, new { id = vm, email }, cancel);
            if (Decide(row) is { } problem) return problem;
            return await MakeTokenAsync(transaction, vm, email, session, time, cancel);
        }, cancel);

    /// <summary>A token for an operator on the Hub's machine.</summary>
    public static Task<Outcome<string>> AskAsync(
        Db db, string actor, string vm, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var row = await transaction.FindAsync<VmRow>(MoveSql.FindVm, new { id = vm }, cancel);
            if (Decide(row) is { } problem) return problem;
            return await MakeTokenAsync(transaction, vm, actor, null, time, cancel);
        }, cancel);

    static async Task<string> MakeTokenAsync(NpgsqlTransaction transaction, string vm, string actor, byte[]? session,
        TimeProvider time, CancellationToken cancel)
    {
        var (token, now) = (Secret.Make(), time.GetUtcNow().UtcDateTime);
        await transaction.ExecuteAsync(ConsoleSql.DeleteExpired, new { now }, cancel);
        await transaction.ExecuteAsync(ConsoleSql.CreateToken,
            new { hash = Secret.Hash(token), vm, actor, session, expires = now + TokenLifetime }, cancel);
        return token;
    }

    /// <summary>Uses a token up, and writes who opens the console. Returns the VM.</summary>
    /// <param name="session">Of the request; null if it has none.</param>
    public static Task<Outcome<VmRow>> UseAsync(
        Db db, string vm, string token, byte[]? session, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<VmRow>(async transaction =>
        {
            var used = await transaction.FindAsync<UsedTokenRow>(ConsoleSql.UseToken,
                new { hash = Secret.Hash(token), vm, session, now = time.GetUtcNow().UtcDateTime }, cancel);
            if (used is null) return Unknown;
            var row = await transaction.FindAsync<VmRow>(MoveSql.FindVm, new { id = vm }, cancel);
            if (Decide(row) is { } problem) return problem;
            await transaction.AuditAsync(used.Actor, "open_console", vm, row!.Host, cancel);
            return row;
        }, cancel);
}
