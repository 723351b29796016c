using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Features.ReverseDns;

/// <summary>
/// Gives a public address of a VM a name, or takes it away. The DNS server is told in the background: this decides what
/// it is to have.
/// </summary>
public static class SetReverseName
{
    /// <summary>The name, or the refusal.</summary>
    /// <param name="addresses">Those of the VM.</param>
    /// <param name="name">Lower case, without a final dot; empty: none.</param>
    public static Outcome<string> Decide(
        VmRow? vm, IEnumerable<string> addresses, string address, string name, Settings settings)
    {
        if (vm is null or { Deleted: not null }) return VmAction.NotFound;
        if (vm.Wanted == "gone") return new Problem(ProblemKind.Conflict, "This capsul is being deleted.");
        if (settings.DnsServer is null)
            return new Problem(ProblemKind.Conflict, "Addresses cannot be given names here.");
        if (!addresses.Contains(address, StringComparer.Ordinal) || !PublicAddress.Is(address))
            return new Problem(ProblemKind.NotFound, "This is not a public address of your capsul.");
        if (name.Length > 0 && !IsHostName(name))
            return Wrong("Give a full host name, such as mail.example.org: labels of letters, digits and hyphens, with "
                + "dots between them.");
        return name.Length > 0 && settings.BaseUrl?.Host is { } pages && string.Equals(name, pages, OrdinalIgnoreCase)
            ? Wrong("This is the name of this site. Choose another.") : name;
    }

    const StringComparison OrdinalIgnoreCase = StringComparison.OrdinalIgnoreCase;

    /// <summary>Two labels or more; the last one does not begin with a digit.</summary>
    static bool IsHostName(string name) => Formats.IsDnsName(name) && name.Split('.') is { Length: > 1 } labels
        && labels.All(Formats.IsLabel) && char.IsAsciiLetterLower(labels[^1][0]);

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Name" };

    /// <param name="email">The account that asks; null: an operator.</param>
    /// <param name="name">Empty or null: none.</param>
    /// <returns>The name as it is kept; empty: none.</returns>
    public static Task<Outcome<string>> RunAsync(Db db, string actor, string? email, string id, string? address,
        string? name, Settings settings, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var wanted = (name ?? "").Trim().TrimEnd('.').ToLowerInvariant();
            var at = IPAddress.TryParse(address, out var parsed) ? parsed.ToString() : "";
            var vm = await (email is null
                ? transaction.FindAsync<VmRow>(VmSql.LockAny, new { id }, cancel)
                : transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel));
            var own = await transaction.ListAsync<ReverseNameRow>(ReverseNameSql.OfVm, new { id }, cancel);
            if (Decide(vm, own.Select(o => o.Address), at, wanted, settings).Refused(out var problem, out var decided))
                return problem;
            var changed = await transaction.ExecuteAsync(
                decided.Length > 0 ? ReverseNameSql.Put : ReverseNameSql.Remove,
                new { address = at, id, name = decided }, cancel);
            if (changed == 0 && decided != own.Single(o => o.Address == at).Name)
                return new Problem(ProblemKind.Conflict, "Another capsul has given this address a name.");
            if (changed > 0)
                await transaction.AuditAsync(
                    actor, "set_reverse_name", id, $"{at} {(decided.Length > 0 ? decided : "none")}", cancel);
            return decided;
        }, cancel);
}
