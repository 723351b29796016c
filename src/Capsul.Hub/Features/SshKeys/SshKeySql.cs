namespace Capsul.Hub.Features.SshKeys;

/// <param name="Key">The base64 part of the public key.</param>
public sealed record SshKeyRow(long Id, string Name, string Type, string Key, string Fingerprint, DateTime Created);

/// <summary>Statements over <c>ssh_keys</c>.</summary>
public static class SshKeySql
{
    public const string List = """
        -- SshKeySql.List
        SELECT id, name, type, key, fingerprint, created FROM ssh_keys WHERE email = @email ORDER BY name, id
        """;

    public const string Find = """
        -- SshKeySql.Find
        SELECT id, name, type, key, fingerprint, created FROM ssh_keys WHERE email = @email AND id = @id
        """;

    /// <summary>Locks the account, so that the count stays valid until the transaction ends.</summary>
    public const string LockAccount = """
        -- SshKeySql.LockAccount
        SELECT email FROM accounts WHERE email = @email FOR NO KEY UPDATE
        """;

    public const string Count = """
        -- SshKeySql.Count
        SELECT count(*) FROM ssh_keys WHERE email = @email
        """;

    public const string Add = """
        -- SshKeySql.Add
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        VALUES (@email, @name, @type, @key, @fingerprint, @now)
        RETURNING id
        """;

    /// <summary>Adds keys that the accounts do not have, unless the name is taken.</summary>
    public const string AddMissing = """
        -- SshKeySql.AddMissing
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        SELECT email, name, type, key, fingerprint, @now
        FROM unnest(@emails::text[], @names::text[], @types::text[], @keys::text[], @fingerprints::text[])
            AS n (email, name, type, key, fingerprint)
        ON CONFLICT DO NOTHING
        """;

    public const string Remove = """
        -- SshKeySql.Remove
        DELETE FROM ssh_keys WHERE email = @email AND id = @id RETURNING name
        """;
}
