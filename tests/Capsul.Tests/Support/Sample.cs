using System.Security.Cryptography;
using Capsul.Hub.Features.SshKeys;

namespace Capsul.Tests.Support;

/// <summary>An account with something in everything, for looking at pages.</summary>
public static class Sample
{
    public const string Email = "ada.lovelace@example.org";

    /// <summary>A public key of a kind that OpenSSH makes; its bytes are random but well formed.</summary>
    public static string Ed25519(string comment = "ada@engine") =>
        $"ssh-ed25519 {Convert.ToBase64String([0, 0, 0, 11, .. "ssh-ed25519"u8, 0, 0, 0, 32, .. RandomNumberGenerator.GetBytes(32)])} {comment}";

    public static async Task FillAsync(WebHub hub, CancellationToken cancel)
    {
        await hub.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@email)", new { email = Email }, cancel);
        await AddKeyAsync(hub, Email, "ada@engine", cancel);
        await AddKeyAsync(hub, Email, "work laptop with a rather long name", cancel);
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO payments (created, email, dollars, method, invalidated)
            VALUES (@now, @email, 25, 'cash', FALSE), (@now, @email, 10, 'cash', TRUE), (@now, @email, 20, 'play', FALSE);
            INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
            VALUES ('debian-12', 'Debian 12 (bookworm)', 'debian', 4, 256), ('alpine-3', 'Alpine 3.22', 'alpine', 1, 128), ('tiny', 'Tiny', 'user', 0, 64);
            INSERT INTO hosts (id, state, online, cpus, memory_mb, disk_free_mb) VALUES ('host-1', 'joined', TRUE, 8, 32768, 500000);
            INSERT INTO host_images (host, image, sha256) SELECT 'host-1', id, repeat('a', 64) FROM images;
            INSERT INTO addresses (host, address, mac)
            SELECT 'host-1', '10.77.0.0'::inet + n, ('52:54:00:00:00:' || lpad(to_hex(n), 2, '0'))::macaddr FROM generate_series(2, 40) AS n;
            """, new { now = hub.Now, email = Email }, cancel);
    }

    public static async Task<long> AddKeyAsync(WebHub hub, string email, string name, CancellationToken cancel)
    {
        var key = SshKey.Parse(Ed25519(name)).OrThrow();
        return await hub.Db.FindAsync<long>(
            """
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES (@email, @name, @type, @key, @fingerprint, @now) RETURNING id
            """, new { email, name, type = key.Type, key = key.Key, fingerprint = key.Fingerprint, now = hub.Now }, cancel);
    }
}
