namespace Capsul.Hub.Features.Vms;

/// <summary>Where a VM is in the queue of its host: 1 is next. Of how many.</summary>
public sealed record QueuePlaceRow(long Place, long Of);

/// <summary>How many VMs a host may build at a time, builds now, and lets wait.</summary>
/// <param name="IsSet">The number was set for this host.</param>
public sealed record BuildSlotsRow(int Slots, bool IsSet, long Building, long Waiting);

/// <summary>
/// Statements on the queue for the build slots of a host. A VM is being built from when its host is told of it until
/// its creation ends; one with <c>queued</c> waits.
/// </summary>
public static class BuildQueueSql
{
    /// <summary>How many VMs host h may build at a time: its own number, the setting, or by its CPUs.</summary>
    internal const string Slots = "coalesce(h.build_slots, @buildSlots::integer, greatest(4, 2 * h.cpus))";

    const string Building = "(SELECT count(*) FROM vms b "
        + "WHERE b.host = h.id AND b.state = 'creating' AND b.queued IS NULL)";

    const string Waiting = "EXISTS (SELECT FROM vms w "
        + "WHERE w.host = h.id AND w.state = 'creating' AND w.queued IS NOT NULL)";

    /// <summary>A new VM on host h has to wait. Nobody overtakes those who wait already.</summary>
    internal const string Busy = $"({Building} >= {Slots} OR {Waiting})";

    /// <summary>
    /// When a new VM of @email on @host is built, by start-time fair queueing (Goyal, Vin and Cheng, 1996): one turn
    /// after the last of its account, and after those that are being built. So accounts take turns, and only accounts
    /// with fewer VMs in the queue can come in before a VM that waits.
    /// </summary>
    internal const string NextTurn = """
        (SELECT 1 + greatest(0, max(b.build_turn) FILTER (WHERE b.queued IS NULL OR b.email = @email),
                min(b.build_turn) FILTER (WHERE b.queued IS NOT NULL) - 1)
            FROM vms b WHERE b.host = @host AND b.state = 'creating')
        """;

    const string QueueOf = """
        SELECT q.id, row_number() OVER (ORDER BY q.build_turn, q.queued, q.id) AS place
            FROM vms q WHERE q.state = 'creating' AND q.queued IS NOT NULL AND q.host =
        """;

    /// <summary>The queue of a host in order.</summary>
    const string Queue = $"{QueueOf} @host";

    /// <summary>The place of VM v in the queue of its host.</summary>
    internal const string PlaceOfVm = $"(SELECT p.place FROM ({QueueOf} v.host) AS p WHERE p.id = v.id)";

    /// <summary>Hosts with free slots that somebody waits for.</summary>
    public const string HostsToServe = $"""
        -- BuildQueueSql.HostsToServe
        SELECT h.id FROM hosts h
        WHERE h.id IN (SELECT host FROM vms WHERE state = 'creating' AND queued IS NOT NULL) AND {Building} < {Slots}
        ORDER BY h.id
        """;

    /// <summary>The next VMs of a host, as many as it has free slots.</summary>
    public const string Next = $"""
        -- BuildQueueSql.Next
        SELECT q.id FROM ({Queue}) AS q
        WHERE q.place <= (SELECT {Slots} - {Building} FROM hosts h WHERE h.id = @host) ORDER BY q.place
        """;

    /// <summary>
    /// Gives locked VMs of a locked host its free slots, in the order given. The new generation tells the Spoke.
    /// </summary>
    public const string Admit = $"""
        -- BuildQueueSql.Admit
        UPDATE vms SET queued = NULL, wanted_generation = @generation
        WHERE id IN (SELECT n.id FROM unnest(@ids::text[]) WITH ORDINALITY AS n (id, place)
            JOIN vms v ON v.id = n.id AND v.queued IS NOT NULL
            ORDER BY n.place LIMIT (SELECT greatest(0, {Slots} - {Building}) FROM hosts h WHERE h.id = @host))
        RETURNING id
        """;

    /// <summary>Tells the pages of those who still wait: their places have changed.</summary>
    public const string TellWaiting = """
        -- BuildQueueSql.TellWaiting
        SELECT count(*) FROM (SELECT announce('capsul_vms', coalesce(array_agg(id), '{}')) FROM vms
            WHERE host = @host AND state = 'creating' AND queued IS NOT NULL) AS told
        """;

    /// <summary>The place of a VM of the host in the queue; no row when it does not wait.</summary>
    public const string Place = $"""
        -- BuildQueueSql.Place
        WITH queue AS MATERIALIZED ({Queue})
        SELECT place, (SELECT count(*) FROM queue) AS of FROM queue WHERE id = @id
        """;

    public const string OfHost = $"""
        -- BuildQueueSql.OfHost
        SELECT {Slots} AS slots, h.build_slots IS NOT NULL AS is_set, {Building} AS building,
            (SELECT count(*) FROM vms w
                WHERE w.host = h.id AND w.state = 'creating' AND w.queued IS NOT NULL) AS waiting
        FROM hosts h WHERE h.id = @host
        """;
}
