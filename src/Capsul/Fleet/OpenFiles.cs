using System.Runtime.InteropServices;
using Capsul.Foundation;

namespace Capsul.Fleet;

/// <summary>The limit of open files of this process (getrlimit(2)).</summary>
static partial class OpenFiles
{
    /// <summary>RLIMIT_NOFILE of Linux.</summary>
    const int NumberOfFiles = 7;

    /// <summary>Measured: a Spoke has a lock and up to two connections; this leaves room for reconnecting.</summary>
    const int PerSpoke = 8, Base = 500;

    [StructLayout(LayoutKind.Sequential)]
    struct Limit
    {
        public ulong Soft, Hard;
    }

    /// <summary>Raises the soft limit to the hard one.</summary>
    /// <exception cref="ProblemException">Unavailable: so many Spokes need more.</exception>
    public static void Ensure(int spokes)
    {
        if (getrlimit(NumberOfFiles, out var limit) != 0) return;
        if (limit.Soft < limit.Hard)
        {
            limit.Soft = limit.Hard;
            _ = setrlimit(NumberOfFiles, limit);
        }
        var needed = (ulong)(Base + spokes * PerSpoke);
        if (limit.Hard < needed)
            throw new ProblemException(ProblemKind.Unavailable,
                $"{spokes} Spokes need {needed} open files, and this process may have {limit.Hard}. Raise the limit, "
                + $"for example: ulimit -Hn {needed}");
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int getrlimit(int resource, out Limit limit);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int setrlimit(int resource, in Limit limit);
}
