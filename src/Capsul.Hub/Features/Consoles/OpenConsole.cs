using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Consoles;

/// <summary>
/// Opening a VM's serial console or its screen: first a token, which its owner's page or an operator's command asks
/// for, then the stream, which the token opens once.
/// </summary>
public static class OpenConsole
{
    public static readonly TimeSpan TokenLifetime = TimeSpan.FromSeconds(60);

    static Problem Unknown(ViewKind kind) => new(ProblemKind.Forbidden,
        $"This {kind.Word()} link has expired or was already used. Open the {kind.Word()} again.");

    /// <summary>Whether something of a VM can be shown now. Unavailable: it may be soon.</summary>
    public static Problem? Decide(VmRow? vm, ViewKind kind = ViewKind.Console) => vm switch
    {
        null or { Deleted: not null } => VmAction.NotFound,
        { Observed: "on" } => null,
        { Observed: "unknown", ObservedAt: not null } => new Problem(ProblemKind.Unavailable,
            $"We lost contact with {vm.Host}, the host of this capsul."),
        { State: "creating" or "reinstalling" or "moving" } => new Problem(ProblemKind.Unavailable,
            $"This capsul has no {kind.Word()} before it is started: its state is “{vm.State}”."),
        _ when IsComing(vm.State) => new Problem(ProblemKind.Unavailable, $"This capsul is {vm.State}."),
        { State: "stopping" or "deleting" or "failed" } => new Problem(ProblemKind.Conflict,
            $"This capsul has no {kind.Word()}: its state is “{vm.State}”."),
        _ => new Problem(ProblemKind.Conflict, $"This capsul is off. Start it to use its {kind.Word()}."),
    };

    /// <summary>Whether a VM that is off in this state is about to be on.</summary>
    public static bool IsComing(string state) =>
        state is "creating" or "starting" or "restarting" or "reinstalling" or "moving";

    /// <summary>A token for its owner, which counts only with this session.</summary>
    public static Task<Outcome<string>> AskAsync(Db db, string email, byte[] session, string vm, ViewKind kind,
        TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var row = await transaction.FindAsync<VmRow>(VmSql.Find, new { id = vm, email }, cancel);
            if (Decide(row, kind) is { } problem) return problem;
            return await MakeTokenAsync(transaction, vm, email, session, kind, time, cancel);
        }, cancel);

    /// <summary>A token for an operator on the Hub's machine.</summary>
    public static Task<Outcome<string>> AskAsync(
        Db db, string actor, string vm, ViewKind kind, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var row = await transaction.FindAsync<VmRow>(MoveSql.FindVm, new { id = vm }, cancel);
            if (Decide(row, kind) is { } problem) return problem;
            return await MakeTokenAsync(transaction, vm, actor, null, kind, time, cancel);
        }, cancel);

    static async Task<string> MakeTokenAsync(NpgsqlTransaction transaction, string vm, string actor, byte[]? session,
        ViewKind kind, TimeProvider time, CancellationToken cancel)
    {
        var (token, now) = (Secret.Make(), time.GetUtcNow().UtcDateTime);
        await transaction.ExecuteAsync(ConsoleSql.DeleteExpired, new { now }, cancel);
        await transaction.ExecuteAsync(ConsoleSql.CreateToken,
            new { hash = Hash(kind, token), vm, actor, session, expires = now + TokenLifetime }, cancel);
        return token;
    }

    /// <summary>So that a token for one kind does not open the other.</summary>
    static byte[] Hash(ViewKind kind, string token) => Secret.Hash($"{kind.Word()} {token}");

    /// <summary>Uses a token up, and writes who opens what. Returns the VM.</summary>
    /// <param name="session">Of the request; null if it has none.</param>
    public static Task<Outcome<VmRow>> UseAsync(Db db, string vm, string token, byte[]? session, ViewKind kind,
        TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<VmRow>(async transaction =>
        {
            var used = await transaction.FindAsync<UsedTokenRow>(ConsoleSql.UseToken,
                new { hash = Hash(kind, token), vm, session, now = time.GetUtcNow().UtcDateTime }, cancel);
            if (used is null) return Unknown(kind);
            var row = await transaction.FindAsync<VmRow>(MoveSql.FindVm, new { id = vm }, cancel);
            if (Decide(row, kind) is { } problem) return problem;
            await transaction.AuditAsync(used.Actor, $"open_{kind.Word()}", vm, row!.Host, cancel);
            return row;
        }, cancel);
}
