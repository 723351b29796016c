namespace Capsul.Hub.Features.Vms;

/// <summary>
/// The newest change of keys that was put in the seed of a VM. Keys' names are lines. Done: when the guest has said so;
/// null: it waits for the next start.
/// </summary>
public sealed record KeyChangeRow(long Number, DateTime Asked, string KeyNames, DateTime? Done);

/// <summary>Statements of keys that VMs get at their next start.</summary>
public static class KeyChangeSql
{
    /// <summary>
    /// The newest of VM v, on the disk that it has; in queries with that alias. One of before is in no seed any more.
    /// </summary>
    internal const string NewestOfVm = """
        SELECT c.number, c.asked, c.keys, c.key_names, c.done FROM key_changes c
        WHERE c.vm = v.id AND c.number > v.disk ORDER BY c.number DESC LIMIT 1
        """;

    public const string Newest = $"""
        -- KeyChangeSql.Newest
        SELECT c.number, c.asked, c.key_names, c.done FROM vms v, LATERAL ({NewestOfVm}) AS c WHERE v.id = @vm
        """;

    /// <summary>Whether the Spoke of a host can do it.</summary>
    public const string RenewsSeeds = """
        -- KeyChangeSql.RenewsSeeds
        SELECT renews_seeds FROM hosts WHERE id = @host
        """;

    /// <summary>
    /// Its number is higher than all before, and than the disk's; also than those of a database that was restored
    /// since.
    /// </summary>
    public const string Insert = """
        -- KeyChangeSql.Insert
        INSERT INTO key_changes (vm, number, asked, keys, key_names)
        SELECT v.id, greatest(extract(epoch FROM @now::timestamptz)::bigint, v.disk + 1,
            1 + coalesce((SELECT max(c.number) FROM key_changes c WHERE c.vm = v.id), 0)), @now, @keys, @keyNames
        FROM vms v WHERE v.id = @vm
        """;

    /// <summary>Other keys were chosen, or there are others already.</summary>
    public const string Withdraw = """
        -- KeyChangeSql.Withdraw
        DELETE FROM key_changes WHERE vm = @vm AND done IS NULL
        """;

    public const string Done = """
        -- KeyChangeSql.Done
        UPDATE key_changes SET done = @now WHERE vm = @vm AND number = @number AND done IS NULL
        """;

    public const string PutKeys = """
        -- KeyChangeSql.PutKeys
        INSERT INTO vm_ssh_keys (vm, name, type, key)
        SELECT c.vm, k.name, split_part(k.line, ' ', 1), split_part(k.line, ' ', 2)
        FROM key_changes c, unnest(string_to_array(c.key_names, E'\n'), string_to_array(c.keys, E'\n'))
            AS k (name, line)
        WHERE c.vm = @vm AND c.number = @number
        """;
}
