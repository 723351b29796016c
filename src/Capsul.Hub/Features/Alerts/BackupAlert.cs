using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres.Backups;

namespace Capsul.Hub.Features.Alerts;

/// <summary>An alert is open from a failed backup until the next one succeeds.</summary>
public static class BackupAlert
{
    /// <param name="settings">Contains the operator's email address.</param>
    /// <param name="time">The clock.</param>
    /// <param name="epoch">Epoch of the active Hub for scheduled backups: without the seat nothing is written. Null for
    /// manual backups.</param>
    public static BackupWatch Watch(Settings settings, TimeProvider time, long? epoch = null) => new()
    {
        Fence = (transaction, cancel) =>
            epoch is { } held ? transaction.HoldSeatAsync(held, cancel) : Task.CompletedTask,
        Failed = (transaction, message, cancel) =>
            RaiseAlert.InAsync(transaction, settings, RaiseAlert.BackupFailed, "", message, time, cancel),
        Succeeded = (transaction, cancel) =>
            RaiseAlert.ClearAsync(transaction, RaiseAlert.BackupFailed, "", time, cancel),
    };
}
