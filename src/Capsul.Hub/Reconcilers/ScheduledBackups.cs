using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Cronos;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// Takes backups on a schedule. The time of the last one is read from the database, so a Hub that was down makes up for
/// missed ones with a single backup. A failed backup raises an alert and is retried an hour later. Expired backups are
/// deleted after one succeeds.
/// </summary>
public sealed partial class ScheduledBackups(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<ScheduledBackups> log) : IActingWork
{
    public string Name => "The backup schedule";

    static readonly TimeSpan RetryAfter = TimeSpan.FromHours(1);

    /// <summary>Longest sleep: clocks change, and backups are also taken manually.</summary>
    static readonly TimeSpan LongestSleep = TimeSpan.FromMinutes(1);

    const int AlwaysKept = 2;

    readonly DateTime started = time.GetUtcNow().UtcDateTime;

    /// <summary>The schedule as read from the settings; null when there is none.</summary>
    /// <exception cref="ProblemException">Invalid: not a cron expression.</exception>
    public static CronExpression? Schedule(Settings settings)
    {
        if (settings.BackupSchedule is not { } text) return null;
        return CronExpression.TryParse(text, out var schedule)
            ? schedule
            : throw new ProblemException(ProblemKind.Invalid,
                $"CAPSUL_BACKUP_SCHEDULE is \"{text}\", which is not a five-field cron expression, "
                + "such as 30 3 * * * for every night at 03:30 UTC.");
    }

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        if (Schedule(settings) is not { } schedule)
        {
            await Task.Delay(Timeout.Infinite, cancel);
            return;
        }
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(schedule, epoch, cancel);
            await Task.Delay(LongestSleep, time, cancel);
        }
    }

    /// <summary>One round; true when a backup was due and was attempted.</summary>
    public async Task<bool> LookAsync(CronExpression schedule, long epoch, CancellationToken cancel)
    {
        var last = await db.FindAsync<BackupRow>(BackupSql.LastScheduled, null, cancel);
        if (last is { Finished: null, Problem: "" }) await GiveUpAsync(last, epoch, cancel);
        if (Due(schedule, last) is not { } due || due > Now()) return false;
        try
        {
            var backup =
                await new TakeBackup(db, settings, time, _ => { }) { Watch = BackupAlert.Watch(settings, time, epoch) }
                    .RunAsync(new(null, DumpFormat.Plain, settings.BackupEncryptTo, "scheduled"), cancel);
            Log.Taken(log, backup.File, backup.Bytes, backup.Proof);
            await ExpireAsync(epoch, cancel);
        }
        catch (ProblemException error)
        {
            // The backup itself has written the row and the alert.
            Log.Failed(log, error.Problem.Message);
        }
        return true;
    }

    /// <summary>
    /// The next scheduled time after the last one started, or after this process started; sooner if the last one
    /// failed.
    /// </summary>
    DateTime? Due(CronExpression schedule, BackupRow? last)
    {
        var next = schedule.GetNextOccurrence(DateTime.SpecifyKind(last?.Started ?? started, DateTimeKind.Utc));
        return last is { Finished: null } && last.Started + RetryAfter is var again && !(next < again) ? again : next;
    }

    /// <summary>
    /// Only the active Hub takes these, one after another: an unfinished one belongs to a Hub that crashed meanwhile.
    /// </summary>
    Task GiveUpAsync(BackupRow last, long epoch, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            await TakeBackup.FailAsync(transaction, BackupAlert.Watch(settings, time, epoch), last.Id, last.Started,
                "The Hub that was taking it exited or lost leadership.", cancel);
            return true;
        }, cancel);

    /// <summary>
    /// Deletes expired backups, except the newest two verified ones. Only files on this machine are counted and
    /// deleted: a file on another Hub's disk is left to that Hub, and must not count because this disk may be the only
    /// one left.
    /// </summary>
    async Task ExpireAsync(long epoch, CancellationToken cancel)
    {
        if (settings.BackupKeepDays == 0) return;
        var before = Now() - TimeSpan.FromDays(settings.BackupKeepDays);
        var here = (await db.ListAsync<BackupRow>(BackupSql.Kept, null, cancel)).Where(BackupFile.IsHere).ToList();
        var stay = here.Where(b => b.Proved is not null).Take(AlwaysKept).ToList();
        foreach (var old in here.Where(b => b.Reason == "scheduled" && b.Started < before).Except(stay))
        {
            await fence.ExecuteAsync(epoch, BackupSql.Removed, new { id = old.Id, now = Now() }, cancel);
            File.Delete(old.File);
            Log.Removed(log, old.File);
        }
    }

    DateTime Now() => time.GetUtcNow().UtcDateTime;

    static partial class Log
    {
        [LoggerMessage(220, LogLevel.Information, "Backup {File}, {Bytes} bytes, verified: {Proof}")]
        public static partial void Taken(ILogger log, string file, long bytes, string proof);

        [LoggerMessage(221, LogLevel.Error, "The scheduled backup failed: {Why}")]
        public static partial void Failed(ILogger log, string why);

        [LoggerMessage(222, LogLevel.Information, "Deleted the old backup {File}")]
        public static partial void Removed(ILogger log, string file);
    }
}
