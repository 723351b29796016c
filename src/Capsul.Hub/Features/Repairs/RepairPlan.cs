using System.Security.Cryptography;
using System.Text;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Repairs;

/// <summary>What a plan does about a finding.</summary>
public enum RepairAction
{
    /// <summary>Nothing: a person has to look.</summary>
    None,
    /// <summary>Marks it, and changes nothing else: a later plan may do more.</summary>
    Quarantine,
    /// <summary>Repairs it.</summary>
    Repair,
}

/// <summary>One line of a plan.</summary>
/// <param name="Finding">What was found.</param>
/// <param name="Action">What is done about it.</param>
/// <param name="Says">Both in words.</param>
public sealed record PlannedRepair(FindingRow Finding, RepairAction Action, string Says);

/// <summary>
/// What <c>capsul fsck</c> found and would do. Its ID is a hash of all of it, so a plan can only be carried out while
/// the findings are still the same. What cannot be taken back (an address that another VM may get) is put into
/// quarantine by the first plan, and done by a later one.
/// </summary>
public sealed record RepairPlan(string Id, IReadOnlyList<PlannedRepair> Lines)
{
    const int IdBytes = 6;

    static readonly TimeSpan Lately = TimeSpan.FromMinutes(10);

    public int Count(RepairAction action) => Lines.Count(l => l.Action == action);

    public static async Task<RepairPlan> MakeAsync(
        NpgsqlTransaction transaction, string? host, DateTime now, CancellationToken cancel) =>
        Decide(await transaction.ListAsync<FindingRow>(
            RepairSql.Find, new { host = host ?? "", lately = now - Lately }, cancel));

    /// <summary>Decides what to do about each finding.</summary>
    public static RepairPlan Decide(IReadOnlyList<FindingRow> findings)
    {
        var lines = findings.Select(Decide).ToList();
        var text = string.Concat(lines.Select(l =>
            $"{l.Action} {l.Finding.Kind} {l.Finding.Subject} {l.Finding.Host} {l.Finding.Detail}\n"));
        return new(Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, IdBytes)), lines);
    }

    static PlannedRepair Decide(FindingRow f)
    {
        var isKnown = f.Quarantined is not null;
        var (action, says) = f.Kind switch
        {
            "operation_missing" => (RepairAction.Repair,
                $"{f.Subject} is {f.Detail} without an operation: starts it again."),
            "operation_of_deleted" => (RepairAction.Repair,
                $"Operation {f.Subject} ({f.Detail}) is running, but its VM is deleted: ends it."),
            "usage_of_deleted" => (RepairAction.Repair,
                $"{f.Subject} is charged, but was {f.Detail}: ends the charge then."),
            "usage_of_unknown" => (RepairAction.Repair,
                $"{f.Subject} is charged, but unknown: ends the charge when {f.Host} was last seen."),
            "usage_missing" => (RepairAction.Repair,
                $"{f.Subject} is {f.Detail}, but not charged: charges it from now."),
            "generation_behind" => (RepairAction.Repair,
                $"The generation of {f.Subject} is {f.Detail}: raises it, so that its Spoke is told."),
            "address_reserved" when isKnown => (RepairAction.Repair,
                $"{f.Subject} is deleted, and in quarantine: frees its address {f.Detail}."),
            "address_reserved" => (RepairAction.Quarantine,
                $"{f.Subject} is deleted, but {f.Host} never confirmed it, and its address {f.Detail} stays reserved: "
                + "puts it into quarantine; the next plan frees the address. Be sure that the machine is gone."),
            "unknown_vm" when isKnown => (RepairAction.None,
                $"{f.Subject} ({f.Detail}) is in quarantine and left alone. Remove it on {f.Host} by hand; it is "
                + "forgotten here when the host no longer reports it."),
            "unknown_vm" => (RepairAction.Quarantine,
                $"{f.Subject} ({f.Detail}) is not in the database: marks it as seen, and leaves it alone."),
            "vm_not_reported" => (RepairAction.None,
                $"{f.Subject} is {f.Detail}, but {f.Host} is online and does not report it: look there."),
            "address_elsewhere" => (RepairAction.None, $"{f.Subject} has an address of another host: {f.Detail}."),
            "address_missing" => (RepairAction.None, $"{f.Subject} is {f.Detail}, but has no address: delete it."),
            "host_without_certificate" => (RepairAction.None,
                $"{f.Subject} cannot connect ({f.Detail}): invite it again, or "
                + $"capsul host remove {f.Subject} --force."),
            _ => throw new InvalidOperationException(f.Kind),
        };
        return new(f, action, says);
    }
}
