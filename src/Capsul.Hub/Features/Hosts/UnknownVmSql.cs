namespace Capsul.Hub.Features.Hosts;

/// <summary>A machine that a host has and the database does not know. Power: on, off or unknown.</summary>
public sealed record UnknownVmRow(string Host, string Vm, string Power, DateTime FirstSeen, DateTime LastSeen);

/// <summary>Statements over <c>unknown_vms</c>: they are left alone and remembered.</summary>
public static class UnknownVmSql
{
    public const string OfHost = """
        -- UnknownVmSql.OfHost
        SELECT host, vm, power, first_seen, last_seen FROM unknown_vms WHERE host = @host ORDER BY vm LIMIT 200
        """;

    public const string ForgetHost = """
        -- UnknownVmSql.ForgetHost
        DELETE FROM unknown_vms WHERE host = @host
        """;
}
