namespace Capsul.Spoke.Hypervisor;

/// <summary>A disk that fills: guests that run are paused, as all of them write, and go on only when there is room.
/// </summary>
public sealed partial class Simulated
{
    bool full;

    /// <summary>Simulates that the host's disk is full.</summary>
    public void FillDisk()
    {
        List<string> paused;
        lock (gate)
        {
            full = true;
            paused = [.. machines.Where(m => m.Value.On).Select(m => m.Key).Order(StringComparer.Ordinal)];
            foreach (var id in paused) Change(id, m => m with { Paused = true });
        }
        foreach (var id in paused) changes.Writer.TryWrite(id);
    }

    /// <summary>Simulates that there is room again. Nobody is told.</summary>
    public void FreeDisk()
    {
        lock (gate) full = false;
    }

    public Task ResumeAsync(string id, CancellationToken cancel) => DoAsync(Verb.Resume, () =>
    {
        lock (gate)
        {
            // On a disk that is still full it pauses again at once.
            if (full || machines.GetValueOrDefault(id) is not { On: true, Paused: true }) return false;
            Change(id, m => m with { Paused = false });
        }
        changes.Writer.TryWrite(id);
        return true;
    }, cancel);

    static DomainPower PowerOf(Machine machine) =>
        !machine.On ? DomainPower.Off : machine.Paused ? DomainPower.Paused : DomainPower.On;
}
