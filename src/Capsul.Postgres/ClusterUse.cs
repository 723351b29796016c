using Capsul.Foundation;

namespace Capsul.Postgres;

/// <summary>
/// Tracks which processes use a private cluster: the Hub, and commands that run beside it or without it. Two locks on
/// files beside its folder, which are released when their process ends, however it ends: one lets a single process at a
/// time create, start or stop the cluster, the other is shared by all processes that use it.
/// </summary>
sealed class ClusterUse(string folder)
{
    static readonly TimeSpan TryEvery = TimeSpan.FromMilliseconds(50), LockLimit = TimeSpan.FromMinutes(3);

    FileStream? shared;

    string Users => folder + ".users";

    /// <summary>Acquires the lock for creating, starting and stopping; released by disposing.</summary>
    /// <exception cref="ProblemException">Unavailable: another process has held the lock for minutes.</exception>
    public async Task<IDisposable> LockAsync(CancellationToken cancel)
    {
        var file = folder + ".lock";
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (true)
        {
            try
            {
                return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
            }
            catch (IOException) when (clock.Elapsed < LockLimit)
            {
                // File locks cannot be awaited.
                await Task.Delay(TryEvery, cancel);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                throw new ProblemException(ProblemKind.Unavailable, $"{file} cannot be locked: {error.Message}",
                    null, error);
            }
        }
    }

    /// <summary>Marks the cluster as used by this process. Requires the lock.</summary>
    public void Join() => shared ??= new FileStream(Users, FileMode.OpenOrCreate, FileAccess.Read, FileShare.Read, 1);

    /// <summary>Stops using it; true if no other process uses it either. Requires the lock.</summary>
    public bool Leave()
    {
        shared?.Dispose();
        shared = null;
        try
        {
            using var alone = new FileStream(Users, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }
}
