namespace Capsul.Hub.Features.Rebuilds;

/// <summary>A rebuild that is not finished.</summary>
/// <param name="ExpectedLines">Hosts that are known from before the database was lost, one per line.</param>
public sealed record OpenRebuildRow(long Id, DateTime Started, string ExpectedLines)
{
    public IReadOnlyList<string> Expected => ExpectedLines.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}

/// <summary>A host that a rebuild has taken in.</summary>
/// <param name="Vms">How many of its VMs are in the database again.</param>
/// <param name="Notes">A line for each VM that is not, or that has another name.</param>
public sealed record RebuiltHostRow(string Host, int Vms, string Notes);

/// <summary>Whether a database may be rebuilt.</summary>
public sealed record ContentsRow(bool IsEmpty, bool WasRebuilt);

/// <summary>Statements on rebuilds of a lost database.</summary>
public static class RebuildSql
{
    public const string FindOpen = """
        -- RebuildSql.FindOpen
        SELECT id, started, array_to_string(expected, E'\n') AS expected_lines
        FROM rebuilds WHERE finished IS NULL
        """;

    /// <summary>
    /// Hosts are taken in one after the other: VMs on two of them may have the same account and name.
    /// </summary>
    public const string LockOpen = """
        -- RebuildSql.LockOpen
        SELECT id, started, array_to_string(expected, E'\n') AS expected_lines
        FROM rebuilds WHERE finished IS NULL FOR UPDATE
        """;

    public const string IsOpen = """
        -- RebuildSql.IsOpen
        SELECT EXISTS (SELECT FROM rebuilds WHERE finished IS NULL)
        """;

    /// <summary>The host was taken in by the rebuild that is open: it gets no wanted states yet.</summary>
    public const string IsRebuilding = """
        -- RebuildSql.IsRebuilding
        SELECT EXISTS (SELECT FROM rebuilds r JOIN rebuilt_hosts h ON h.rebuild = r.id
            WHERE r.finished IS NULL AND h.host = @host)
        """;

    public const string Contents = """
        -- RebuildSql.Contents
        SELECT NOT EXISTS (SELECT FROM accounts) AND NOT EXISTS (SELECT FROM vms) AS is_empty,
            EXISTS (SELECT FROM rebuilds) AS was_rebuilt
        """;

    /// <summary>
    /// Expects the hosts that are known from before, also to an earlier rebuild, and are not there yet.
    /// </summary>
    public const string Start = """
        -- RebuildSql.Start
        INSERT INTO rebuilds (started, expected)
        SELECT @now, ARRAY(SELECT unnest(@expected::text[]) UNION SELECT unnest(expected) FROM rebuilds
            EXCEPT SELECT id FROM hosts ORDER BY 1)
        """;

    public const string Finish = """
        -- RebuildSql.Finish
        UPDATE rebuilds SET finished = greatest(@now, started) WHERE id = @id
        """;

    public const string PutHost = """
        -- RebuildSql.PutHost
        INSERT INTO rebuilt_hosts (rebuild, host, at, vms, notes) VALUES (@rebuild, @host, @now, @vms, @notes)
        ON CONFLICT (rebuild, host) DO UPDATE SET at = excluded.at, vms = excluded.vms, notes = excluded.notes
        """;

    public const string Hosts = """
        -- RebuildSql.Hosts
        SELECT host, vms, array_to_string(notes, E'\n') AS notes
        FROM rebuilt_hosts WHERE rebuild = @rebuild ORDER BY host
        """;
}
