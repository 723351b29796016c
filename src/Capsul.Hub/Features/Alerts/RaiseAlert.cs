using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Alerts;

/// <summary>
/// Alerts are rows, open until what they are about is well again. One thing has one open alert, however often it is
/// raised; the operator gets a mail when it opens, if there is an address.
/// </summary>
public static class RaiseAlert
{
    /// <summary>The last backup did not succeed.</summary>
    public const string BackupFailed = "backup_failed";

    /// <summary>A host has a VM that was deleted and reported gone.</summary>
    public const string DeletedVmPresent = "deleted_vm_present";

    /// <summary>A host no longer has the disk of a VM that has run.</summary>
    public const string DiskLost = "disk_lost";

    public static async Task InAsync(NpgsqlTransaction transaction, Settings settings,
        string kind, string subject, string message, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var isNew = await transaction.FindAsync<bool>(AlertSql.Raise, new { kind, subject, message, now }, cancel);
        if (isNew && settings.OperatorEmail is { } recipient)
            await new Outbox(time).EnqueueAsync(transaction,
                new Mail(recipient, $"Capsul: {kind.Replace('_', ' ')}", $"{message}\n\nSee: capsul doctor\n"), cancel);
    }

    /// <summary>It is well again.</summary>
    public static Task ClearAsync(
        NpgsqlTransaction transaction, string kind, string subject, TimeProvider time, CancellationToken cancel) =>
        transaction.ExecuteAsync(AlertSql.Clear, new { kind, subject, now = time.GetUtcNow().UtcDateTime }, cancel);
}
