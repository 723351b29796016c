using System.Globalization;

namespace Capsul.Fleet;

/// <summary>What processes have used so far, from /proc (proc(5)).</summary>
/// <param name="CpuSeconds">In user and kernel mode.</param>
/// <param name="ResidentMb">Resident memory, MiB.</param>
public sealed record ProcessCost(double CpuSeconds, double ResidentMb)
{
    /// <summary>USER_HZ, which is 100 on every architecture of .NET.</summary>
    const double TicksPerSecond = 100;

    /// <summary>Fields of stat after the program's name, from 0 (its number in proc(5), less 3).</summary>
    const int Parent = 1, User = 11, Kernel = 12, ChildUser = 13, ChildKernel = 14, Resident = 21;

    sealed record Stat(string Program, string[] Fields)
    {
        public int ParentId => (int)Number(Parent);

        public double Cpu => (Number(User) + Number(Kernel)) / TicksPerSecond;

        /// <summary>Of children that have ended.</summary>
        public double ChildCpu => (Number(ChildUser) + Number(ChildKernel)) / TicksPerSecond;

        public double Mb => Number(Resident) * Environment.SystemPageSize / (1 << 20);

        long Number(int field) => long.Parse(Fields[field], CultureInfo.InvariantCulture);
    }

    /// <summary>Null: it has ended.</summary>
    public static ProcessCost? Of(int pid) => Read(pid) is { } stat ? new ProcessCost(stat.Cpu, stat.Mb) : null;

    /// <summary>
    /// The whole server that a backend belongs to, with the processes that have ended; null if it is on another
    /// machine. Memory is not summed, because the processes share most of it.
    /// </summary>
    public static ProcessCost? OfServer(int backend)
    {
        if (ServerOf(backend) is not { } server || Read(server) is not { } main) return null;
        return new ProcessCost(main.Cpu + main.ChildCpu + ChildrenOf(server).Sum(c => c.Stat.Cpu), main.Mb);
    }

    /// <summary>The main process of the server that a backend belongs to, and its children; or nothing.</summary>
    public static IReadOnlyList<int> ServerProcesses(int backend) =>
        ServerOf(backend) is { } server ? [server, .. ChildrenOf(server).Select(c => c.Pid)] : [];

    static int? ServerOf(int backend) =>
        Read(backend) is { Program: "postgres" } one && Read(one.ParentId) is { Program: "postgres" }
            ? one.ParentId : null;

    static IEnumerable<(int Pid, Stat Stat)> ChildrenOf(int parent)
    {
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
                && Read(pid) is { } stat && stat.ParentId == parent)
                yield return (pid, stat);
        }
    }

    static Stat? Read(int pid)
    {
        try
        {
            var text = File.ReadAllText($"/proc/{pid}/stat");
            // The name is in parentheses and may contain anything.
            var (open, close) = (text.IndexOf('(', StringComparison.Ordinal), text.LastIndexOf(')'));
            return new Stat(text[(open + 1)..close], text[(close + 2)..].Split(' '));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
