using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Alerts;

/// <summary>
/// Alerts are rows, open until the problem is resolved. A subject has one open alert of each kind, however often it is
/// raised; the operator is emailed when it opens, if an address is set.
/// </summary>
public static class RaiseAlert
{
    /// <summary>The last backup failed.</summary>
    public const string BackupFailed = "backup_failed";

    /// <summary>A host has a VM that was deleted and reported gone.</summary>
    public const string DeletedVmPresent = "deleted_vm_present";

    /// <summary>A host no longer has the disk of a VM that has run.</summary>
    public const string DiskLost = "disk_lost";

    /// <summary>Two Spokes have the identity of one host.</summary>
    public const string ClonedSpoke = "cloned_spoke";

    /// <summary>A host no longer knows VMs that it ran.</summary>
    public const string HostEmptied = "host_emptied";

    public static async Task InAsync(NpgsqlTransaction transaction, Settings settings,
        string kind, string subject, string message, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var isNew = await transaction.FindAsync<bool>(AlertSql.Raise, new { kind, subject, message, now }, cancel);
        if (isNew) await TellAsync(transaction, settings, kind.Replace('_', ' '), message, time, cancel);
    }

    /// <summary>Emails all operators.</summary>
    public static async Task TellAsync(NpgsqlTransaction transaction, Settings settings,
        string subject, string text, TimeProvider time, CancellationToken cancel)
    {
        var see = settings.BaseUrl is { } url ? $"See: {new Uri(url, "/operator")}" : "See: capsul hub status";
        foreach (var recipient in settings.OperatorEmails)
            await new Outbox(time).EnqueueAsync(transaction,
                new Mail(recipient, $"Capsul: {subject}", $"{text}\n\n{see}\n"), cancel);
    }

    /// <summary>The problem is resolved.</summary>
    public static Task ClearAsync(
        NpgsqlTransaction transaction, string kind, string subject, TimeProvider time, CancellationToken cancel) =>
        transaction.ExecuteAsync(AlertSql.Clear, new { kind, subject, now = time.GetUtcNow().UtcDateTime }, cancel);
}
