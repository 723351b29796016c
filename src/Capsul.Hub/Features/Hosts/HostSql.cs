using System.Net;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Vms;

namespace Capsul.Hub.Features.Hosts;

/// <summary>A host as operators see it. Memory in MiB.</summary>
public sealed record HostRow(
    string Id, string State, bool Accepts, long Generation, DateTime? LastSeen, bool Online, string Problem,
    string Version, string Hypervisor, int Cpus, int MemoryMb, long DiskFreeMb, int Vms, long MemoryUsedMb);

/// <summary>
/// A VM as it is sent to a Spoke, and what its recovery record contains besides. Keys and their names are one per line.
/// A copy is what another host than the VM's own has of it. Transfer: its disk is to be received, if it is a copy, or
/// else sent. Ports: lines, of the VM and of this host. Firewall: its policy; its rules are lines (<see
/// cref="FirewallSql.RuleLines"/>). New image and keys: what it is being reinstalled with. Rescue: the number of the
/// rescue system that it is to be started from; null: none. Key set: the number of the keys in its seed, which it takes
/// once; null: none. Further: lines, addresses besides the first and what each costs a month. Intended: what it is to
/// be after a move. Host keys are only sent to hosts that may not have seen it boot.
/// </summary>
public sealed record WantedRow(
    string Id, string Wanted, long WantedGeneration, int Restarts, int StopGraceSeconds, string Name, int Vcpus,
    int MemoryMb, int DiskGb, string Image, string ImageSha256, bool HasRun, string? Mac, string? Address, string Keys,
    string KeyNames, string Email, string Size, string LoginUser, DateTime Created, decimal DollarsPerMonth,
    int Moves, bool IsCopy, string Transfer, string Intended, string HostKeys, string Adopt, bool Adopted,
    string? Address6, string Firewall, string FirewallRules, string Ports, long Disk, bool KeepsOldDisk,
    string? NewImage, string? NewImageSha256, string? NewKeys, long? Rescue, string? RescueImage,
    string? RescueImageSha256, string? RescueKeys, long? KeySet, string Further);

/// <summary>
/// What a Spoke reported about its host, validated. Memory and disk in MiB; Addresses is the complete list.
/// </summary>
public sealed record HostFactsRow(
    string Version, string BootId, string Hypervisor, int Cpus, int MemoryMb, long DiskFreeMb, long DiskMb, int MaxVms,
    bool MovesDisks, IReadOnlyList<IPAddress> Addresses, IReadOnlyList<HostImageRow> Images,
    IReadOnlyList<PoolFacts> Pools)
{
    /// <summary>Ports of the host that can lead to VMs; null: none.</summary>
    public (int First, int Last)? Forwards { get; init; }

    /// <summary>Its VMs can be reinstalled.</summary>
    public bool MakesDisksAnew { get; init; }

    /// <summary>Its VMs can be rescued.</summary>
    public bool Rescues { get; init; }

    /// <summary>Its VMs can get other keys from their seed.</summary>
    public bool RenewsSeeds { get; init; }

    /// <summary>Its ports can lead to UDP ports of VMs.</summary>
    public bool ForwardsUdp { get; init; }

    /// <summary>Its VMs can have further IPv4 addresses.</summary>
    public bool GivesMoreAddresses { get; init; }
}

/// <summary>A network of a host's VMs. First and last: of IPv4 only.</summary>
public sealed record PoolFacts(int Family, string Network, string Gateway, string? First, string? Last);

/// <summary>A host by its certificate; whether this is the first use of the certificate.</summary>
public sealed record CertifiedHostRow(string Id, bool IsNew);

public sealed record HostNameRow(string Id, bool Revoked);

/// <summary>A validated heartbeat. The skew of the Spoke's clock is positive when it is ahead.</summary>
/// <param name="RulesRemoved">When somebody else last removed rules of the packet filter; null: not lately.</param>
/// <param name="CutOff">Why VMs have no connection to the outside; empty: they have.</param>
public sealed record HeartbeatRow(bool Answers, long DiskFreeMb, string Problem, int ClockSkewSeconds,
    DateTime? RulesRemoved = null, string CutOff = "");

/// <summary>A heartbeat was saved; whether the host was online before.</summary>
public sealed record SavedHeartbeatRow(string Id, bool WasOnline);

public static class HostSql
{
    public const string List = """
        -- HostSql.List
        SELECT h.id, h.state, h.accepts, h.generation, h.last_seen, h.online, h.problem, h.version, h.hypervisor,
            h.cpus, h.memory_mb, h.disk_free_mb, h.vms, h.memory_used_mb
        FROM hosts h ORDER BY h.id
        """;

    public const string Invite = """
        -- HostSql.Invite
        INSERT INTO hosts (id) VALUES (@id) ON CONFLICT (id) DO NOTHING
        """;

    /// <summary>A host that was removed comes back, or another machine gets its name.</summary>
    public const string Reuse = """
        -- HostSql.Reuse
        UPDATE hosts SET state = 'invited', accepts = TRUE WHERE id = @id AND state = 'removed'
        """;

    public const string StateOf = """
        -- HostSql.StateOf
        SELECT state FROM hosts WHERE id = @id
        """;

    /// <summary>The host may be invited again; it keeps its VMs.</summary>
    public const string Restore = """
        -- HostSql.Restore
        UPDATE hosts SET state = 'invited' WHERE id = @id AND state = 'revoked'
        """;

    public const string AddToken = """
        -- HostSql.AddToken
        INSERT INTO join_tokens (token_hash, host, created, expires) VALUES (@hash, @host, @now, @expires)
        """;

    /// <summary>
    /// A host as its Spoke's certificate names it, while the database is being rebuilt. No row: the database knows the
    /// host, with another certificate or as revoked. Its generation is at least that of its VMs.
    /// </summary>
    public const string Rebuild = """
        -- HostSql.Rebuild
        INSERT INTO hosts AS h (id, state, certificate, generation) VALUES (@id, 'joined', @certificate, @generation)
        ON CONFLICT (id) DO UPDATE SET generation = greatest(h.generation, excluded.generation)
        WHERE h.state = 'joined' AND h.certificate = excluded.certificate
        RETURNING id
        """;

    /// <summary>Hosts whose revocation is known from before the database was lost.</summary>
    public const string AddRevoked = """
        -- HostSql.AddRevoked
        INSERT INTO hosts (id, state) SELECT id, 'revoked' FROM unnest(@ids::text[]) AS n (id)
        ON CONFLICT (id) DO NOTHING
        """;

    /// <summary>The names of all hosts that have joined, and of those that were revoked.</summary>
    public const string Names = """
        -- HostSql.Names
        SELECT id, state <> 'joined' AS revoked FROM hosts WHERE state IN ('joined', 'revoked', 'removed')
        ORDER BY id
        """;

    /// <summary>The connections of these hosts look again.</summary>
    public const string NextGenerations = """
        -- HostSql.NextGenerations
        UPDATE hosts SET generation = generation + 1 WHERE id = ANY(@ids)
        """;

    /// <summary>A token can be used once: the statement that finds the row also marks it.</summary>
    public const string UseToken = """
        -- HostSql.UseToken
        UPDATE join_tokens SET used = @now WHERE token_hash = @hash AND used IS NULL AND expires > @now RETURNING host
        """;

    public const string Join = """
        -- HostSql.Join
        UPDATE hosts SET state = 'joined', certificate = @certificate, certificate_ends = @ends,
            old_certificate = NULL, presented_token = NULL, given_token = NULL
        WHERE id = @id AND state NOT IN ('revoked', 'removed')
        """;

    public const string Renew = """
        -- HostSql.Renew
        UPDATE hosts SET old_certificate = certificate, certificate = @certificate, certificate_ends = @ends
        WHERE id = @id AND state = 'joined'
        """;

    /// <summary>The host that a certificate belongs to. The old one is valid until the new one is used.</summary>
    public const string ByCertificate = """
        -- HostSql.ByCertificate
        SELECT id, certificate = @hash AND (old_certificate IS NOT NULL OR certificate_ends IS NULL) AS is_new
        FROM hosts
        WHERE state = 'joined' AND (certificate = @hash OR old_certificate = @hash)
        """;

    /// <summary>The certificate is in use: the one before is no longer valid.</summary>
    public const string UseCertificate = """
        -- HostSql.UseCertificate
        UPDATE hosts SET old_certificate = NULL, certificate_ends = @ends WHERE id = @id AND certificate = @hash
        """;

    public const string Revoke = """
        -- HostSql.Revoke
        UPDATE hosts SET state = 'revoked', certificate = NULL, old_certificate = NULL, online = FALSE
        WHERE id = @id AND state NOT IN ('revoked', 'removed')
        """;

    /// <summary>
    /// Marks the host as the Hub's own machine: its images are the operator's, and are added to the catalog
    /// automatically.
    /// </summary>
    public const string MarkLocal = """
        -- HostSql.MarkLocal
        UPDATE hosts SET local = TRUE WHERE id = @id
        """;

    /// <summary>
    /// Stores the facts of the hello; returns whether the host is the Hub's own machine, or no row if it is revoked.
    /// </summary>
    public const string SaveFacts = """
        -- HostSql.SaveFacts
        UPDATE hosts SET online = TRUE, last_seen = @now, problem = '', version = @version, hypervisor = @hypervisor,
            cpus = @cpus, memory_mb = @memoryMb, disk_free_mb = @diskFreeMb, disk_mb = @diskMb, max_vms = @maxVms,
            moves_disks = @movesDisks, makes_disks_anew = @makesDisksAnew, rescues = @rescues,
            renews_seeds = @renewsSeeds, forwards_udp = @forwardsUdp, gives_more_addresses = @givesMoreAddresses,
            forward_first = @forwardFirst, forward_last = @forwardLast
        WHERE id = @id AND state = 'joined' RETURNING local
        """;

    /// <summary>
    /// Saves heartbeats of many hosts. Hosts that were revoked are left out, and those whose row is locked.
    /// </summary>
    public const string Heartbeats = """
        -- HostSql.Heartbeats
        WITH before AS (
            SELECT id, online FROM hosts WHERE id = ANY(@ids) AND state = 'joined' ORDER BY id FOR UPDATE SKIP LOCKED)
        UPDATE hosts h SET online = n.answers,
            last_seen = CASE WHEN n.answers THEN greatest(h.last_seen, n.at) ELSE h.last_seen END,
            disk_free_mb = n.disk_free_mb, problem = n.problem, clock_skew_seconds = n.skew,
            acknowledged = greatest(h.acknowledged, n.acknowledged),
            rules_removed = greatest(h.rules_removed, n.rules_removed), cut_off = n.cut_off,
            cut_off_since = CASE WHEN n.cut_off <> '' THEN coalesce(h.cut_off_since, n.at) END
        FROM before b JOIN unnest(@ids::text[], @times::timestamptz[], @answers::boolean[], @diskFreeMb::bigint[],
            @problems::text[], @skews::integer[], @acknowledged::bigint[], @rulesRemoved::timestamptz[],
            @cutOff::text[])
            AS n (id, at, answers, disk_free_mb, problem, skew, acknowledged, rules_removed, cut_off) ON n.id = b.id
        WHERE h.id = b.id
        RETURNING h.id, b.online AS was_online
        """;

    /// <summary>Whether the host's last report is so old that its VMs have to be given up.</summary>
    public const string IsSilent = """
        -- HostSql.IsSilent
        SELECT coalesce(last_seen < @silent, FALSE) FROM hosts WHERE id = @id
        """;

    /// <summary>
    /// A new connection with the token that an earlier one gave. No row: it is neither the one that was given last nor
    /// the one that was presented last, so the Spoke is an outdated copy. After a restore of the database (the epoch is
    /// far ahead) any token is accepted once.
    /// </summary>
    public const string AcceptToken = """
        -- HostSql.AcceptToken
        UPDATE hosts SET presented_token = @presented, given_token = @given, token_epoch = @epoch, boot_id = @bootId,
            acknowledged = 0
        WHERE id = @id AND (given_token IS NULL OR @presented = given_token OR @presented = presented_token
            OR @epoch - token_epoch >= 1000000)
        RETURNING id
        """;

    public const string BootOf = """
        -- HostSql.BootOf
        SELECT boot_id FROM hosts WHERE id = @id
        """;

    public const string Rebooted = """
        -- HostSql.Rebooted
        UPDATE hosts SET rebooted = @now WHERE id = @id
        """;

    /// <summary>The Spoke has stored the token: the one before is no longer valid.</summary>
    public const string ConfirmToken = """
        -- HostSql.ConfirmToken
        UPDATE hosts SET presented_token = given_token WHERE id = @id AND given_token = @given
        """;

    public const string Offline = """
        -- HostSql.Offline
        UPDATE hosts SET online = FALSE, problem = '' WHERE id = @id AND (online OR problem <> '')
        """;

    /// <summary>
    /// Silent hosts that may have to be set offline: they are marked online, or have VMs whose state is still taken as
    /// known.
    /// </summary>
    public const string Silent = """
        -- HostSql.Silent
        SELECT h.id FROM hosts h
        WHERE h.last_seen < @silent AND (h.online OR EXISTS (SELECT FROM vms v
            WHERE v.host = h.id AND v.deleted IS NULL AND v.observed IN ('on', 'off')))
        ORDER BY h.id
        """;

    /// <summary>
    /// Returns the time of the host's last report if it is still silent once the row is locked; otherwise no row.
    /// </summary>
    public const string TakeOffline = """
        -- HostSql.TakeOffline
        UPDATE hosts SET online = FALSE WHERE id = @id AND last_seen < @silent RETURNING last_seen
        """;

    public const string Generation = """
        -- HostSql.Generation
        SELECT generation FROM hosts WHERE id = @id AND state = 'joined'
        """;

    /// <summary>
    /// The wanted states of a host that changed after @since, also of copies. A VM that is wanted gone and was reported
    /// gone is left out: the Spoke has nothing left of it. So is one that waits for a build slot.
    /// </summary>
    public const string Wanted = $"""
        -- HostSql.Wanted
        SELECT v.id, w.wanted, w.generation AS wanted_generation, v.restarts, v.stop_grace_seconds, v.name, v.vcpus,
            v.memory_mb, v.disk_gb, v.image, v.image_sha256, v.has_run, a.mac::text AS mac, host(a.address) AS address,
            k.keys, k.key_names, v.email, v.size, v.login_user, v.created, v.dollars_per_month, v.moves,
            w.is_copy, w.transfer, w.intended, CASE WHEN v.moves > 0 OR w.is_copy THEN
                (SELECT coalesce(string_agg(h.type || ' ' || h.key, E'\n' ORDER BY h.type), '')
                    FROM vm_ssh_host_keys h WHERE h.vm = v.id) ELSE '' END AS host_keys,
            v.adopt, v.adopted, host(a.address6) AS address6,
            coalesce((SELECT f.policy FROM firewalls f WHERE f.vm = v.id), 'open') AS firewall,
            {FirewallSql.RuleLines} AS firewall_rules,
            (SELECT coalesce(string_agg(p.vm_port || ' ' || p.port || ' ' || p.protocol, E'\n'
                ORDER BY p.port, p.protocol), '') FROM ports p JOIN hosts h ON h.id = p.host
                WHERE p.vm = v.id AND p.host = @host AND (p.protocol = 'tcp' OR h.forwards_udp)) AS ports,
            coalesce(r.disk, v.disk) AS disk, r.disk IS NOT NULL AS keeps_old_disk, r.image AS new_image,
            r.image_sha256 AS new_image_sha256,
            coalesce(r.keys, CASE WHEN c.done IS NULL THEN c.keys END) AS new_keys,
            s.number AS rescue, s.image AS rescue_image, s.image_sha256 AS rescue_image_sha256, s.keys AS rescue_keys,
            CASE WHEN r.disk IS NULL AND NOT w.is_copy THEN c.number END AS key_set,
            (SELECT coalesce(string_agg(host(f.address) || ' ' || x.dollars_per_month, E'\n' ORDER BY f.address), '')
                FROM addresses f JOIN vm_extras x ON x.id = f.extra WHERE f.vm = v.id AND f.host = @host) AS further
        FROM (SELECT v.id, v.wanted, v.wanted_generation AS generation, FALSE AS is_copy,
                    CASE WHEN m.copy_wanted = 'receive' AND v.wanted = 'off' THEN m.transfer ELSE '' END AS transfer,
                    CASE WHEN m.was = 'running' THEN 'on' ELSE v.wanted END AS intended
                FROM vms v LEFT JOIN moves m ON m.vm = v.id AND m.ended IS NULL
                WHERE v.host = @host AND v.wanted_generation > @since AND v.queued IS NULL
                    AND NOT (v.wanted = 'gone' AND v.observed = 'gone'
                        AND v.observed_generation >= v.wanted_generation)
                UNION ALL
                SELECT m.vm, CASE m.copy_wanted WHEN 'receive' THEN 'off' ELSE m.copy_wanted END, m.copy_generation,
                    v.state <> 'deleted', CASE m.copy_wanted WHEN 'receive' THEN m.transfer ELSE '' END, 'gone'
                FROM moves m JOIN vms v ON v.id = m.vm
                WHERE m.copy_host = @host AND m.copy_generation > @since) AS w
            JOIN vms v ON v.id = w.id LEFT JOIN addresses a ON a.vm = v.id AND a.host = @host AND a.extra IS NULL
            LEFT JOIN reinstalls r ON r.vm = v.id AND NOT w.is_copy
            LEFT JOIN rescues s ON s.vm = v.id AND s.ended IS NULL AND NOT s.ending AND NOT w.is_copy
            LEFT JOIN LATERAL ({KeyChangeSql.NewestOfVm}) AS c ON TRUE,
            LATERAL (SELECT coalesce(string_agg(type || ' ' || key, E'\n' ORDER BY name), '') AS keys,
                    coalesce(string_agg(name, E'\n' ORDER BY name), '') AS key_names
                FROM vm_ssh_keys WHERE vm = v.id) AS k
        ORDER BY w.generation, v.id
        """;

    /// <summary>Every change of a host's wanted state gets a new generation; the trigger notifies the link.</summary>
    public const string NextGeneration = """
        -- HostSql.NextGeneration
        UPDATE hosts SET generation = generation + 1 WHERE id = @host RETURNING generation
        """;

    public const string LockOne = """
        -- HostSql.LockOne
        SELECT id FROM hosts WHERE id = @id FOR NO KEY UPDATE
        """;

    /// <summary>Locks the next hosts, so that their counters and their VMs do not change.</summary>
    public const string LockNext = """
        -- HostSql.LockNext
        SELECT id FROM hosts WHERE id > @after ORDER BY id LIMIT @limit FOR NO KEY UPDATE
        """;

    /// <summary>Recomputes the counters of locked hosts; returns how many were wrong.</summary>
    public const string CorrectCounters = """
        -- HostSql.CorrectCounters
        WITH sums AS (
            SELECT i.id, count(v.id) AS vms, coalesce(sum(v.vcpus), 0) AS vcpus,
                coalesce(sum(v.memory_mb), 0) AS memory, coalesce(sum(v.disk_gb), 0) AS disk
            FROM unnest(@ids::text[]) AS i (id) LEFT JOIN (
                SELECT v.id, v.host, v.vcpus, v.memory_mb, v.disk_gb FROM vms v WHERE v.deleted IS NULL
                UNION ALL
                SELECT m.vm, m.copy_host, m.vcpus, m.memory_mb, m.disk_gb FROM moves m WHERE m.copy_host IS NOT NULL)
                AS v ON v.host = i.id GROUP BY i.id
        ), corrected AS (
            UPDATE hosts h SET vms = s.vms, vcpus_used = s.vcpus, memory_used_mb = s.memory, disk_used_gb = s.disk
            FROM sums s
            WHERE h.id = s.id AND (h.vms, h.vcpus_used, h.memory_used_mb, h.disk_used_gb)
                IS DISTINCT FROM (s.vms, s.vcpus, s.memory, s.disk) RETURNING 1)
        SELECT count(*)::integer FROM corrected
        """;
}
