using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Sites;

/// <summary>Takes a name away from a VM: from then on anybody may take it.</summary>
public static class RemoveSite
{
    /// <param name="email">The account that asks; null: an operator.</param>
    /// <returns>The name.</returns>
    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, string? email, string id, string? name, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var vm = await (email is null
                ? transaction.FindAsync<VmRow>(VmSql.LockAny, new { id }, cancel)
                : transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel));
            if (vm is null or { Deleted: not null }) return VmAction.NotFound;
            if (await transaction.ExecuteAsync(SiteSql.Delete, new { id, name = name ?? "" }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, "This capsul has no such name.");
            await transaction.AuditAsync(actor, "remove_site", id, name!, cancel);
            return name!;
        }, cancel);
}
