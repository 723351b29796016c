namespace Capsul.Hub.Features.Operators;

/// <summary>What operators look at first.</summary>
/// <param name="HostsOnline">Of the hosts that have joined.</param>
/// <param name="Hosts">Those that have joined.</param>
/// <param name="Drained">Hosts that accept no new VMs.</param>
/// <param name="Operations">Running ones.</param>
/// <param name="Overdue">Of those: past their deadline.</param>
/// <param name="Mails">Waiting to be sent.</param>
/// <param name="UnknownVms">Machines that hosts have and the database does not know.</param>
public sealed record OverviewRow(
    long HostsOnline, long Hosts, long Drained, long Operations, long Overdue, long Mails, long UnknownVms);

public static class OverviewSql
{
    public const string Find = """
        -- OverviewSql.Find
        SELECT (SELECT count(*) FROM hosts WHERE state = 'joined' AND online) AS hosts_online,
            (SELECT count(*) FROM hosts WHERE state = 'joined') AS hosts,
            (SELECT count(*) FROM hosts WHERE state = 'joined' AND NOT accepts) AS drained,
            (SELECT count(*) FROM operations WHERE finished IS NULL) AS operations,
            (SELECT count(*) FROM operations WHERE finished IS NULL AND deadline_at < @now) AS overdue,
            (SELECT count(*) FROM mails WHERE sent IS NULL AND given_up IS NULL) AS mails,
            (SELECT count(*) FROM unknown_vms) AS unknown_vms
        """;
}
