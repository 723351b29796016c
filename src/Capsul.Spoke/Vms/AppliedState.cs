using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Vms;

/// <summary>
/// The highest (epoch, generation) applied, in <c>spoke/applied.json</c>. A Spoke never goes backwards.
/// </summary>
public sealed class AppliedState(string folder)
{
    sealed record Pair(long Epoch, long Generation);

    string File => Path.Combine(folder, "applied.json");

    Pair pair = new(0, 0), written = new(0, 0);

    public long Epoch => pair.Epoch;

    public long Generation => pair.Generation;

    public void Load()
    {
        if (!System.IO.File.Exists(File)) return;
        try
        {
            pair = written = JsonSerializer.Deserialize<Pair>(System.IO.File.ReadAllText(File))
                ?? throw new JsonException("empty");
        }
        catch (JsonException error)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"{File} cannot be read: {error.Message}. It protects against commands from an outdated Hub; "
                + "restore it, or delete it if you are sure that only one Hub is running.", null, error);
        }
    }

    /// <summary>Whether a message may be applied: it must not be older than the last one applied.</summary>
    public bool Allows(long epoch, long generation) =>
        epoch > pair.Epoch || (epoch == pair.Epoch && generation >= pair.Generation);

    /// <summary>
    /// Saves the pair, after the wanted states themselves are on disk, so that a crash only repeats them.
    /// </summary>
    /// <exception cref="IOException">It could not be written; it is still effective while this process
    /// runs.</exception>
    public async Task AdvanceAsync(long epoch, long generation, CancellationToken cancel)
    {
        pair = new Pair(epoch, generation);
        if (pair == written) return;
        await DataFolder.WriteWholeAsync(File, JsonSerializer.SerializeToUtf8Bytes(pair), cancel);
        written = pair;
    }
}
