using System.Text;
using Capsul.Foundation;
using Capsul.Wire;

namespace Capsul.Spoke.Link;

/// <summary>
/// Where the Hubs are: the address that the Spoke joined at, and those that a Hub has named since, in
/// <c>spoke/hubs</c>, one a line. They are tried in turn; a standby Hub's word on which one is active comes first.
/// </summary>
public sealed class HubAddresses
{
    /// <summary>More than any installation has.</summary>
    const int MaxHubs = 16;

    readonly string file, joined;
    List<string> all;
    int next;
    string? preferred;

    public HubAddresses(string folder, string joined)
    {
        (file, this.joined) = (Path.Combine(folder, "hubs"), joined);
        all = Read();
    }

    List<string> Read() => Merge(File.Exists(file) ? File.ReadAllLines(file) : []);

    List<string> Merge(IEnumerable<string> named) =>
        [.. named.Append(joined).Where(JoinToken.IsAddress).Distinct(StringComparer.Ordinal).Take(MaxHubs)];

    /// <summary>The address to try now.</summary>
    public string Current => preferred ?? all[next % all.Count];

    /// <summary>How many there are.</summary>
    public int Count => all.Count;

    /// <summary>The current one does not respond, or is not active: the next one, or the one it named.</summary>
    public void Advance(string? active)
    {
        if (active is not null && JoinToken.IsAddress(active) && active != Current)
        {
            preferred = active;
            return;
        }
        if (preferred is null) next++;
        preferred = null;
    }

    /// <summary>Stores what a Hub said about where the Hubs are; the current one stays the current one.</summary>
    /// <exception cref="IOException">It could not be stored; it counts while this process runs.</exception>
    public async Task KeepAsync(IEnumerable<string> named, CancellationToken cancel)
    {
        var current = Current;
        var known = Merge(named);
        if (known.SequenceEqual(all, StringComparer.Ordinal)) return;
        all = known;
        (preferred, next) = all.IndexOf(current) is var place && place >= 0 ? (null, place) : (current, 0);
        await DataFolder.WriteWholeAsync(file, Encoding.UTF8.GetBytes(string.Join('\n', all) + "\n"), cancel);
    }
}
