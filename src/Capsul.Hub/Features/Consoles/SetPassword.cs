using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Features.Consoles;

/// <summary>
/// A new password for the login user of a VM, set by the agent inside it, for logging in on the console. It is shown
/// once, and kept nowhere; SSH takes keys only, as before.
/// </summary>
public static class SetPassword
{
    const int Groups = 4, GroupLetters = 4;

    /// <summary>Without those that look like others, in any keyboard layout where they usually are.</summary>
    const string Letters = "abcdefghkmnprstuvw23456789";

    /// <summary>What its owner has to log in with.</summary>
    public sealed record Login(string User, string Password);

    public static async Task<Outcome<Login>> RunAsync(
        Db db, IHostConsoles? hosts, string email, string id, CancellationToken cancel)
    {
        var vm = await db.FindAsync<VmRow>(VmSql.Find, new { id, email }, cancel);
        if (OpenConsole.Decide(vm) is { } problem) return problem;
        if (vm!.InRescue) return RescueVm.InRescue;
        if (!Formats.IsLoginUser(vm.LoginUser))
            return new Problem(ProblemKind.Conflict, "Nobody knows who may log in to this capsul: it was adopted.");
        if (hosts is null) return new Problem(ProblemKind.Unavailable, "No host is connected to this Hub.");
        // Written before: whether it was set is not known if the answer is lost.
        await db.InTransactionAsync(
            transaction => transaction.AuditAsync(email, "set_password", id, vm.LoginUser, cancel), cancel);
        var password = Make();
        return await hosts.SetPasswordAsync(vm.Host, id, vm.LoginUser, password, cancel) is { } refusal
            ? refusal : new Login(vm.LoginUser, password);
    }

    static string Make() => string.Join('-',
        Enumerable.Range(0, Groups).Select(_ => RandomNumberGenerator.GetString(Letters, GroupLetters)));
}
