using System.Text;

namespace Capsul.Chaos;

/// <summary>The result of one seed, or of many.</summary>
public sealed class Report
{
    readonly SortedDictionary<string, int> counts = new(StringComparer.Ordinal);
    readonly List<string> violations = [];

    /// <summary>Steps of Hub, Spokes and link.</summary>
    public long Steps { get; set; }

    public int LateWritesRefused { get; set; }

    /// <summary>VMs whose lost operation was started again, and what deleted ones left behind.</summary>
    public int Repaired { get; set; }

    /// <summary>VMs that waited for a build slot and got one.</summary>
    public int Admitted { get; set; }

    /// <summary>VMs that got another price.</summary>
    public int Repriced { get; set; }

    public TimeSpan VirtualTime { get; set; }

    /// <summary>How often each kind of action and fault was drawn.</summary>
    public IReadOnlyDictionary<string, int> Counts => counts;

    public IReadOnlyList<string> Violations => violations;

    public void Count(string what) => counts[what] = counts.GetValueOrDefault(what) + 1;

    public void Violate(string what) => violations.Add(what);

    public void Add(int seed, Report other)
    {
        foreach (var (what, count) in other.counts) counts[what] = counts.GetValueOrDefault(what) + count;
        violations.AddRange(other.violations.Select(v => $"seed {seed}: {v}"));
        (Repaired, Admitted, Repriced) =
            (Repaired + other.Repaired, Admitted + other.Admitted, Repriced + other.Repriced);
        (Steps, LateWritesRefused, VirtualTime) =
            (Steps + other.Steps, LateWritesRefused + other.LateWritesRefused, VirtualTime + other.VirtualTime);
    }

    public override string ToString()
    {
        var text = new StringBuilder();
        foreach (var (what, count) in counts) text.Append($"{count,10}  {what}\n");
        text.Append($"{LateWritesRefused,10}  late writes by an earlier Hub, refused\n");
        text.Append($"{Repaired,10}  half-made VMs repaired\n");
        text.Append($"{Admitted,10}  VMs that got a build slot from the queue\n");
        text.Append($"{Repriced,10}  VMs that got another price\n");
        foreach (var violation in violations) text.Append($"VIOLATION  {violation}\n");
        return text.Append($"{Steps} steps, {VirtualTime.TotalHours:0.0} virtual hours, {violations.Count} violations")
            .ToString();
    }
}
