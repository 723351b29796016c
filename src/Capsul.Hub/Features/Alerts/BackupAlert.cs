using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres.Backups;

namespace Capsul.Hub.Features.Alerts;

/// <summary>An alert is open from a backup that failed to the next one that succeeds.</summary>
public static class BackupAlert
{
    /// <param name="settings">Who is mailed.</param>
    /// <param name="time">The clock.</param>
    /// <param name="epoch">Of the acting Hub, when it is the Hub's own work: without the seat nothing is written. Null:
    /// a person's.</param>
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
