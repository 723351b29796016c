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

    /// <summary>Counters of accounts or hosts differed from their rows.</summary>
    public const string CountersWrong = "counters_wrong";

    /// <summary>The ledger differed from its payments and usage.</summary>
    public const string LedgerWrong = "ledger_wrong";

    /// <summary>Conditions that are watched: raised while they hold.</summary>
    public const string HostSilent = "host_silent", HypervisorSilent = "hypervisor_silent",
        DiskFilling = "disk_filling", ClockSkew = "clock_skew", CertificateEnding = "certificate_ending",
        AuthorityEnding = "authority_ending", UnknownVm = "unknown_vm", MailsStuck = "mails_stuck",
        MailsGivenUp = "mails_given_up", OperationOverdue = "operation_overdue", BackupOverdue = "backup_overdue",
        VmsPaused = "vms_paused", HubWithoutAddress = "hub_without_address",
        EvacuationStuck = "evacuation_stuck", CopyLeft = "copy_left", MeteringBehind = "metering_behind",
        MeteringAhead = "metering_ahead", DunningStuck = "dunning_stuck", DunningPaused = "dunning_paused",
        PaymentsStuck = "payments_stuck", PaymentProblem = "payment_problem", WebhooksRefused = "webhooks_refused",
        MoneyUnassigned = "money_unassigned", PaymentUnknown = "payment_unknown",
        RefundRefused = "refund_refused", ClosingToPay = "closing_to_pay",
        PaidAfterClosing = "paid_after_closing", ClosedBalance = "closed_balance",
        AccountsWaiting = "accounts_waiting", RulesRemoved = "rules_removed",
        VmBusy = "vm_busy", VmConnections = "vm_connections", FundShort = "fund_short",
        NamesUnpublished = "names_unpublished", VmsCutOff = "vms_cut_off", ClockJumped = "clock_jumped",
        ProviderDiffers = "provider_differs";

    /// <summary>What the Hub repaired by itself.</summary>
    public const string OperationLost = "operation_lost", AddressNotFreed = "address_not_freed",
        UsageNotClosed = "usage_not_closed";

    /// <summary>Lines in one email; a rack that loses power has many.</summary>
    const int MaxMailLines = 20;

    /// <summary>Raises many, and sends one email for all that are new.</summary>
    public static async Task ManyAsync(NpgsqlTransaction transaction, Settings settings,
        IReadOnlyCollection<NewAlert> alerts, TimeProvider time, CancellationToken cancel)
    {
        if (alerts.Count == 0) return;
        var raised = await transaction.ListAsync<NewAlert>(AlertSql.RaiseMany, new
        {
            kinds = alerts.Select(a => a.Kind).ToArray(),
            subjects = alerts.Select(a => a.Subject).ToArray(),
            messages = alerts.Select(a => a.Message).ToArray(),
            now = time.GetUtcNow().UtcDateTime,
        }, cancel);
        if (raised.Count == 0) return;
        var lines = raised.Take(MaxMailLines).Select(a => a.Message);
        if (raised.Count > MaxMailLines) lines = lines.Append($"… and {raised.Count - MaxMailLines} more.");
        await TellAsync(transaction, settings,
            raised.Count == 1 ? raised[0].Kind.Replace('_', ' ') : $"{raised.Count} alerts",
            string.Join("\n\n", lines), time, cancel);
    }

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
