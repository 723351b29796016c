using System.Collections.Concurrent;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The screen of a simulated machine: one color, which is another after each key.</summary>
public sealed partial class Simulated
{
    /// <summary>Of the screen, in pixels.</summary>
    public const int ScreenWidth = 320, ScreenHeight = 200;

    /// <summary>Red, green and blue of the screen, at first and after each key in turn.</summary>
    public static IReadOnlyList<uint> ScreenColors { get; } = [0x204080, 0x208040, 0x804020];

    readonly ConcurrentDictionary<string, SimulatedScreen> screens = new(StringComparer.Ordinal);

    /// <summary>How often a key was pressed on a machine's screen since it was first opened.</summary>
    public int ScreenKeys(string id) => screens.TryGetValue(id, out var screen) ? screen.Keys : 0;

    /// <summary>The keys that are down on a machine's screen, as X11 numbers them.</summary>
    public IReadOnlyCollection<uint> HeldKeys(string id) =>
        screens.TryGetValue(id, out var screen) ? screen.Held : [];

    public Task<Line> OpenScreenAsync(string id, CancellationToken cancel) => DoAsync(Verb.OpenScreen, () =>
    {
        lock (gate)
        {
            if (machines.GetValueOrDefault(id) is not { On: true })
                throw new HypervisorException("It is off.", final: true);
        }
        return screens.GetOrAdd(id, _ => new SimulatedScreen(id)).Open();
    }, cancel);

    /// <summary>A machine that is turned off closes its screen.</summary>
    void CloseScreen(string id)
    {
        if (screens.TryRemove(id, out var screen)) screen.Close();
    }
}
