using Capsul.Foundation;

namespace Capsul.Postgres;

/// <summary>
/// Who uses a private cluster: the Hub, and verbs that run beside it or without it. Two locks on files beside its
/// folder, which end with their process however that ends: one that lets one process at a time make, start or stop it,
/// and one that everybody shares who uses it.
/// </summary>
sealed class ClusterUse(string folder)
{
    static readonly TimeSpan TryEvery = TimeSpan.FromMilliseconds(50), LockLimit = TimeSpan.FromMinutes(3);

    FileStream? shared;

    string Users => folder + ".users";

    /// <summary>For making, starting and stopping; released by disposing.</summary>
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
                // Locks on files have no event to wait for.
                await Task.Delay(TryEvery, cancel);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                throw new ProblemException(ProblemKind.Unavailable, $"{file} cannot be locked: {error.Message}",
                    null, error);
            }
        }
    }

    /// <summary>From now on the cluster is used by this process. Only under the lock.</summary>
    public void Join() => shared ??= new FileStream(Users, FileMode.OpenOrCreate, FileAccess.Read, FileShare.Read, 1);

    /// <summary>Stops using it; true when no other process uses it either. Only under the lock.</summary>
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
