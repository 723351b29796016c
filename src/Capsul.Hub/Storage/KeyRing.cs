using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Postgres;
using Dapper;
using Npgsql;

namespace Capsul.Hub.Storage;

/// <summary>
/// Secrets shared by all Hubs, in the table <c>key_ring</c>. Each is encrypted with AES-256-GCM under the secret key,
/// which is not in the database: with a fresh random nonce per write, and the name as associated data, so that a row
/// cannot be moved to another name. A row that cannot be decrypted is an error that mentions the key; it is never
/// skipped.
/// </summary>
/// <param name="db">The database with the rows.</param>
/// <param name="key">The secret key, 32 bytes.</param>
public sealed class KeyRing(Db db, byte[] key)
{
    const byte Format = 1;
    const int NonceBytes = 12, TagBytes = 16;

    public async Task<byte[]?> ReadAsync(string name, CancellationToken cancel)
    {
        var row = await db.FindAsync<KeyRingRow>(KeyRingSql.Find, new { name }, cancel);
        return row is null ? null : Open(row.Name, row.Content);
    }

    public Task WriteAsync(string name, byte[] bytes, CancellationToken cancel) =>
        db.ExecuteAsync(KeyRingSql.Write, new { name, content = Seal(name, bytes) }, cancel);

    /// <summary>
    /// Writes only if no entry has that name yet: of several Hubs that start at the same time, one wins.
    /// </summary>
    public Task AddAsync(string name, byte[] bytes, CancellationToken cancel) =>
        db.ExecuteAsync(KeyRingSql.Add, new { name, content = Seal(name, bytes) }, cancel);

    /// <summary>All entries whose name begins with <paramref name="prefix"/>, oldest first.</summary>
    public async Task<IReadOnlyList<(string Name, byte[] Content)>> ListAsync(string prefix, CancellationToken cancel)
    {
        var rows = await db.ListAsync<KeyRingRow>(KeyRingSql.List, new { prefix }, cancel);
        return [.. rows.Select(row => (row.Name, Open(row.Name, row.Content)))];
    }

    /// <summary>As <see cref="ListAsync"/>, for ASP.NET's data protection, which is not async.</summary>
    public IReadOnlyList<(string Name, byte[] Content)> List(string prefix)
    {
        using var connection = db.Open();
        return [.. connection.Query<KeyRingRow>(KeyRingSql.List, new { prefix })
            .Select(row => (row.Name, Open(row.Name, row.Content)))];
    }

    /// <summary>As <see cref="WriteAsync"/>, for ASP.NET's data protection, which is not async.</summary>
    public void Write(string name, byte[] bytes)
    {
        using var connection = db.Open();
        connection.Execute(KeyRingSql.Write, new { name, content = Seal(name, bytes) });
    }

    /// <summary>All entries as they are in the database, encrypted.</summary>
    public Task<IReadOnlyList<KeyRingRow>> ListSealedAsync(CancellationToken cancel) =>
        db.ListAsync<KeyRingRow>(KeyRingSql.List, new { prefix = "" }, cancel);

    /// <summary>Adds entries that were copied from an earlier database, encrypted.</summary>
    /// <exception cref="ProblemException">They were encrypted with another secret key.</exception>
    public async Task AddSealedAsync(
        NpgsqlTransaction transaction, IEnumerable<KeyRingRow> rows, CancellationToken cancel)
    {
        foreach (var row in rows)
        {
            Open(row.Name, row.Content);
            await transaction.ExecuteAsync(KeyRingSql.Add, new { name = row.Name, content = row.Content }, cancel);
        }
    }

    byte[] Seal(string name, byte[] bytes)
    {
        var sealedBytes = new byte[1 + NonceBytes + bytes.Length + TagBytes];
        sealedBytes[0] = Format;
        var nonce = sealedBytes.AsSpan(1, NonceBytes);
        RandomNumberGenerator.Fill(nonce);
        using var aes = new AesGcm(key, TagBytes);
        aes.Encrypt(nonce, bytes, sealedBytes.AsSpan(1 + NonceBytes, bytes.Length),
            sealedBytes.AsSpan(^TagBytes..), Encoding.UTF8.GetBytes(name));
        return sealedBytes;
    }

    byte[] Open(string name, byte[] content)
    {
        var length = content.Length - 1 - NonceBytes - TagBytes;
        if (length < 0 || content[0] != Format)
            throw Unreadable(name, "not in a known format", null);
        var bytes = new byte[length];
        try
        {
            using var aes = new AesGcm(key, TagBytes);
            aes.Decrypt(content.AsSpan(1, NonceBytes), content.AsSpan(1 + NonceBytes, length),
                content.AsSpan(^TagBytes..), bytes,
                Encoding.UTF8.GetBytes(name));
        }
        catch (AuthenticationTagMismatchException error)
        {
            throw Unreadable(name, "the tag does not match", error);
        }
        return bytes;
    }

    static ProblemException Unreadable(string name, string why, Exception? inner) =>
        new(ProblemKind.Unavailable,
            "The secrets in the database cannot be decrypted with this Hub's secret key. Set the same "
            + "CAPSUL_SECRET_KEY "
            + "as before.",
            $"key_ring entry {name}: {why}", inner);
}
