using System.Globalization;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Features.Rebuilds;

/// <summary>
/// What must survive the database for it to be rebuilt, in <c>hub/recovery.json</c> of the data folder: the key ring,
/// still encrypted with the secret key (without the authority's key no Spoke accepts a Hub); the epoch, above which the
/// next one must begin; and the names of the hosts, so that a rebuild knows who is missing, and whom it must not let
/// in.
/// </summary>
public sealed record RecoveryCopy(
    long Epoch, IReadOnlyList<string> Hosts, IReadOnlyList<string> Revoked, IReadOnlyList<KeyRingRow> Keys)
{
    /// <summary>The entry by which Spokes recognize their Hub.</summary>
    public const string AuthorityName = "link-authority";

    /// <summary>Without it there is nothing to rebuild with.</summary>
    public KeyRingRow? Authority => Keys.FirstOrDefault(k => k.Name == AuthorityName);

    internal static string FileIn(Settings settings) => Path.Combine(settings.Data, "hub", "recovery.json");

    /// <summary>Null if there is none.</summary>
    /// <exception cref="ProblemException">It is damaged.</exception>
    public static RecoveryCopy? Load(Settings settings)
    {
        var file = FileIn(settings);
        if (!File.Exists(file)) return null;
        try
        {
            return JsonSerializer.Deserialize<RecoveryCopy>(File.ReadAllBytes(file))
                ?? throw new JsonException("empty");
        }
        catch (JsonException error)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"{file} is damaged. Restore it from a backup of the data folder, or from another Hub's.", null, error);
        }
    }

    /// <summary>What the database has now.</summary>
    public static async Task<RecoveryCopy> ReadAsync(Db db, KeyRing ring, CancellationToken cancel)
    {
        var hosts = await db.ListAsync<HostNameRow>(HostSql.Names, null, cancel);
        return new RecoveryCopy((await db.FindSeatAsync(cancel))!.Epoch,
            [.. hosts.Where(h => !h.Revoked).Select(h => h.Id)], [.. hosts.Where(h => h.Revoked).Select(h => h.Id)],
            await ring.ListSealedAsync(cancel));
    }

    /// <summary>
    /// Writes the file unless it says the same already. One with another authority is of another database, which may
    /// have been lost: it is set aside.
    /// </summary>
    public async Task SaveAsync(Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var (file, content) = (FileIn(settings), JsonSerializer.SerializeToUtf8Bytes(this));
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        if (File.Exists(file) && (await File.ReadAllBytesAsync(file, cancel)).AsSpan().SequenceEqual(content)) return;
        if (!IsOfSameHub(settings))
            File.Move(file, file + time.GetUtcNow().ToString(".yyyyMMddHHmmss", CultureInfo.InvariantCulture));
        await DataFolder.WriteWholeAsync(file, content, cancel);
    }

    bool IsOfSameHub(Settings settings)
    {
        try
        {
            return Load(settings)?.Authority is not { } old
                || Authority is { } now && old.Content.AsSpan().SequenceEqual(now.Content);
        }
        catch (ProblemException)
        {
            return false;
        }
    }
}

/// <summary>Keeps the copy of this Hub's data folder up to date; standby Hubs do so too.</summary>
public sealed partial class RecoveryCopies(
    Db db, KeyRing ring, Settings settings, TimeProvider time, ILogger<RecoveryCopies> log) : BackgroundService
{
    static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await (await RecoveryCopy.ReadAsync(db, ring, stoppingToken)).SaveAsync(settings, time, stoppingToken);
            }
            catch (Exception error) when (error is Npgsql.NpgsqlException or IOException or TimeoutException
                or UnauthorizedAccessException)
            {
                Log.NotSaved(log, error.Message);
            }
            await Task.Delay(Every, time, stoppingToken);
        }
    }

    static partial class Log
    {
        [LoggerMessage(230, LogLevel.Warning,
            "The copy of what must survive the database (hub/recovery.json) could not be written: {Why}")]
        public static partial void NotSaved(ILogger log, string why);
    }
}
