using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Rebuilds;

/// <summary>
/// The line of <c>capsul doctor</c> about <see cref="RecoveryCopy"/>: whether a lost database could be rebuilt from
/// this data folder.
/// </summary>
public static class CheckRecoveryCopy
{
    const string What = "recovery";
    const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead
        | UnixFileMode.OtherWrite;

    /// <summary>The file alone: there may be no database to compare it with.</summary>
    public static Finding OfFile(Settings settings) => Read(settings, out var copy) is { } problem
        ? problem : new(Verdict.Ok, What, $"{RecoveryCopy.FileIn(settings)} can be read, epoch {copy!.Epoch}");

    /// <summary>Also whether it says what the database says now.</summary>
    public static async Task<Finding> RunAsync(Settings settings, Db db, CancellationToken cancel)
    {
        if (Read(settings, out var copy) is { } problem) return problem;
        // Entries stay encrypted: no key is needed to compare them.
        var now = await RecoveryCopy.ReadAsync(db, new KeyRing(db, new byte[KeyBytes]), cancel);
        var file = RecoveryCopy.FileIn(settings);
        if (now.Authority is { } authority && !authority.Content.AsSpan().SequenceEqual(copy!.Authority!.Content))
            return new(Verdict.Warn, What,
                $"{file} is of another database: keep it until you know which one is lost. A running Hub sets it aside "
                + "and writes its own");
        return copy!.Epoch == now.Epoch && copy.Hosts.SequenceEqual(now.Hosts, StringComparer.Ordinal)
                && copy.Revoked.SequenceEqual(now.Revoked, StringComparer.Ordinal)
            ? new(Verdict.Ok, What, $"{file} is up to date")
            : new(Verdict.Warn, What,
                $"{file} is older than the database (epoch {copy.Epoch}, database {now.Epoch}); a running Hub updates "
                + "it every minute. Is it running with this data folder, and has its disk room?");
    }

    const int KeyBytes = 32;

    /// <summary>What is wrong with the file itself; null: nothing, and it has an authority.</summary>
    static Finding? Read(Settings settings, out RecoveryCopy? copy)
    {
        copy = null;
        var file = RecoveryCopy.FileIn(settings);
        try
        {
            copy = RecoveryCopy.Load(settings);
            if (copy is null)
                return new(Verdict.Warn, What, $"{file} does not exist yet: the Hub writes it within a minute of its "
                    + "start. Without it a lost database cannot be rebuilt from the Spokes");
            if (copy.Authority is null)
                return new(Verdict.Warn, What, $"{file} has no authority, so no Spoke would accept a rebuilt Hub");
            return (File.GetUnixFileMode(file) & Others) != UnixFileMode.None
                ? new(Verdict.Warn, What, $"{file} can be read by others: chmod 600 {file}") : null;
        }
        catch (ProblemException error)
        {
            return new(Verdict.Fail, What, error.Problem.Message);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return new(Verdict.Fail, What, $"{file} cannot be read: {error.Message}");
        }
    }
}
