using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>The certificate authority of the link, as far as the reconcilers need to know.</summary>
public sealed record LinkAuthority(DateTime Ends);

/// <summary>
/// A reconciler without input: reads every condition that an operator must know of in one statement, and compares it
/// with the open alerts. What is new is raised and emailed, once and in one email; what no longer holds is cleared. A
/// Hub that has just become active gives the hosts time to connect.
/// </summary>
public sealed class AlertWatch(Db db, Fence fence, Settings settings, LinkAuthority authority, TimeProvider time)
    : IActingWork
{
    static readonly TimeSpan Every = TimeSpan.FromSeconds(30), Silent = TimeSpan.FromMinutes(1),
        BeforeEnd = TimeSpan.FromDays(14), AuthorityBeforeEnd = TimeSpan.FromDays(365),
        MailLimit = TimeSpan.FromMinutes(30), PastDeadline = TimeSpan.FromMinutes(10),
        BackupGrace = TimeSpan.FromHours(3), MeteringLimit = TimeSpan.FromHours(3),
        PaymentLimit = TimeSpan.FromMinutes(30), RefusalsCount = TimeSpan.FromHours(1), Day = TimeSpan.FromDays(1),
        NamesLimit = TimeSpan.FromMinutes(15), Month = TimeSpan.FromDays(30), UsageIsOld = TimeSpan.FromMinutes(30),
        ClockLimit = TimeSpan.FromHours(2);

    readonly DateTime started = time.GetUtcNow().UtcDateTime;

    public string Name => "Alerts";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        await Task.Delay(HostHealth.Grace + Every, time, cancel);
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One round. Nothing is written if nothing has changed.</summary>
    public async Task LookAsync(long epoch, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var alerts = await FindAsync(now, cancel);
        var holding = alerts.Select(a => (a.Kind, a.Subject)).ToHashSet();
        var open = await db.ListAsync<AlertRow>(AlertSql.Open, null, cancel);
        var known = open.Select(a => (a.Kind, a.Subject, a.Message)).ToHashSet();
        var news = alerts.Where(a => !known.Contains((a.Kind, a.Subject, a.Message))).ToList();
        var over = open.Where(a =>
            (AlertConditions.Kinds.Contains(a.Kind, StringComparer.Ordinal) && !holding.Contains((a.Kind, a.Subject)))
            || (AlertConditions.Repairs.Contains(a.Kind, StringComparer.Ordinal) && a.Raised < now - Day)).ToList();
        if (news.Count + over.Count == 0) return;
        await fence.InTransactionAsync(epoch, async transaction =>
        {
            await RaiseAlert.ManyAsync(transaction, settings, news, time, cancel);
            await ClearAsync(transaction, over, now, cancel);
            return true;
        }, cancel);
    }

    async Task<IReadOnlyList<NewAlert>> FindAsync(DateTime now, CancellationToken cancel)
    {
        var rows = await db.ListAsync<ConditionRow>(AlertWatchSql.Conditions, new
        {
            silent = now - Silent,
            certificate = now + BeforeEnd,
            sendsMail = settings.SmtpHost is not null,
            mail = now - MailLimit,
            day = now - Day,
            month = now - Month,
            overdue = now - PastDeadline,
            jumped = now - ClockLimit,
            now,
            hubs = now - Silent,
            stuck = now - PaymentLimit,
            refused = now - RefusalsCount,
            unpublished = now - NamesLimit,
            busy = now - settings.AlertCpuTime,
            busyPercent = (long)settings.AlertCpuPercent,
            used = now - UsageIsOld,
            connections = (long)settings.AlertConnections,
            // A Hub that has just started posts what it missed first.
            metering = started < now - MeteringLimit ? now - MeteringLimit : DateTime.UnixEpoch,
        }, cancel);
        return [.. rows.Concat(await BackupAsync(now, cancel)).Concat(Authority(now)).Select(AlertConditions.Describe)];
    }

    /// <summary>Counted from the newest complete backup of any kind, or from the start of this process.</summary>
    async Task<IEnumerable<ConditionRow>> BackupAsync(DateTime now, CancellationToken cancel)
    {
        if (ScheduledBackups.Schedule(settings) is not { } schedule) return [];
        var last = await db.FindAsync<DateTime?>(AlertWatchSql.LastBackup, null, cancel) ?? started;
        return schedule.GetNextOccurrence(DateTime.SpecifyKind(last, DateTimeKind.Utc)) is { } due
            && due + BackupGrace < now ? [new(RaiseAlert.BackupOverdue, "", due, 0, "")] : [];
    }

    IEnumerable<ConditionRow> Authority(DateTime now) => authority.Ends < now + AuthorityBeforeEnd
        ? [new(RaiseAlert.AuthorityEnding, "", authority.Ends, 0, "")] : [];

    static Task ClearAsync(
        NpgsqlTransaction transaction, List<AlertRow> over, DateTime now, CancellationToken cancel) =>
        transaction.ExecuteAsync(AlertSql.ClearMany, new
        {
            kinds = over.Select(a => a.Kind).ToArray(),
            subjects = over.Select(a => a.Subject).ToArray(),
            now,
        }, cancel);
}
