using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Features.Sites;

/// <summary>
/// Gives a web server of a VM a name under the domain of VMs: first come, first served. Its firewall says who may use
/// it.
/// </summary>
public static class AddSite
{
    const int MaxOfVm = 10;

    /// <summary>Names that people take for the installation itself, or that protocols use.</summary>
    static readonly string[] Reserved =
    [
        "www", "hub", "capsul", "admin", "operator", "api", "mail", "smtp", "imap", "ns", "ns1", "ns2", "localhost",
        "autoconfig", "autodiscover", "wpad", "mta-sts", "status", "login", "account", "support",
    ];

    /// <summary>The port, or the refusal.</summary>
    public static Outcome<int> Decide(VmRow? vm, string name, string? port, long ofVm, Settings settings)
    {
        if (vm is null or { Deleted: not null }) return VmAction.NotFound;
        if (vm.Wanted == "gone") return new Problem(ProblemKind.Conflict, "This capsul is being deleted.");
        if (settings.VmDomain is null)
            return new Problem(ProblemKind.Conflict, "There is no domain for names of capsuls here.");
        if (!Formats.IsLabel(name))
            return Wrong("Name", "A name is 1 to 63 lower-case letters, digits and hyphens, and neither begins nor "
                + "ends with a hyphen.");
        if (Reserved.Contains(name, StringComparer.Ordinal) || name.StartsWith("xn--", StringComparison.Ordinal))
            return Wrong("Name", "This name is reserved. Choose another.");
        if (!int.TryParse(port?.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            || number is < 1 or > 65535)
            return Wrong("SitePort", "Give the port of the web server in your capsul, such as 80.");
        return ofVm >= MaxOfVm
            ? new Problem(ProblemKind.Conflict, $"A capsul has at most {MaxOfVm} names.") : number;
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <param name="email">The account that asks; null: an operator.</param>
    public static Task<Outcome<SiteRow>> RunAsync(Db db, string actor, string? email, string id, string? name,
        string? port, Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<SiteRow>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var wanted = name?.Trim().ToLowerInvariant() ?? "";
            var vm = await (email is null
                ? transaction.FindAsync<VmRow>(VmSql.LockAny, new { id }, cancel)
                : transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel));
            var ofVm = await transaction.AskAsync<long>(SiteSql.Count, new { id }, cancel);
            if (Decide(vm, wanted, port, ofVm, settings).Refused(out var problem, out var vmPort)) return problem;
            await transaction.ExecuteAsync(SiteSql.Insert, new { name = wanted, id, vmPort, now }, cancel);
            await transaction.AuditAsync(actor, "add_site", id, $"{wanted} at port {vmPort}", cancel);
            return new SiteRow(wanted, id, vmPort, now);
        }, cancel);
}
