using System.Globalization;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Alerts;

/// <summary>What each condition is called: one sentence on what it is, and one on what to do.</summary>
public static class AlertConditions
{
    /// <summary>Kinds that are raised while a condition holds, and cleared when it no longer does.</summary>
    public static readonly IReadOnlyList<string> Kinds =
    [
        RaiseAlert.HostSilent, RaiseAlert.HypervisorSilent, RaiseAlert.DiskFilling, RaiseAlert.ClockSkew,
        RaiseAlert.CertificateEnding, RaiseAlert.AuthorityEnding, RaiseAlert.UnknownVm, RaiseAlert.MailsStuck,
        RaiseAlert.MailsGivenUp, RaiseAlert.OperationOverdue, RaiseAlert.BackupOverdue,
        RaiseAlert.VmsPaused, RaiseAlert.HubWithoutAddress,
        RaiseAlert.EvacuationStuck, RaiseAlert.CopyLeft, RaiseAlert.MeteringBehind, RaiseAlert.MeteringAhead,
        RaiseAlert.DunningStuck, RaiseAlert.DunningPaused, RaiseAlert.ClockJumped,
        RaiseAlert.PaymentsStuck, RaiseAlert.PaymentProblem, RaiseAlert.WebhooksRefused,
        RaiseAlert.MoneyUnassigned, RaiseAlert.PaymentUnknown, RaiseAlert.RefundRefused,
        RaiseAlert.ClosingToPay, RaiseAlert.PaidAfterClosing, RaiseAlert.ClosedBalance, RaiseAlert.AccountsWaiting,
        RaiseAlert.RulesRemoved, RaiseAlert.VmsCutOff, RaiseAlert.VmBusy, RaiseAlert.VmConnections,
        RaiseAlert.FundShort, RaiseAlert.NamesUnpublished, RaiseAlert.ProviderDiffers,
    ];

    /// <summary>The Hub has repaired something: the alert tells of it, and is cleared after a day.</summary>
    public static readonly IReadOnlyList<string> Repairs =
        [RaiseAlert.OperationLost, RaiseAlert.AddressNotFreed, RaiseAlert.UsageNotClosed];

    public static NewAlert Describe(ConditionRow row) => new(row.Kind, row.Subject, row.Kind switch
    {
        RaiseAlert.HostSilent =>
            $"{row.Subject} has not been heard from since {Time(row)}. Its capsuls are unknown, and nobody is "
            + "charged for them. Check the machine, its network and its Spoke (journalctl, capsul doctor there).",
        RaiseAlert.HypervisorSilent =>
            $"The hypervisor of {row.Subject} has not answered since {Time(row)}: {row.Text} Check libvirt there; "
            + "capsuls keep running meanwhile, and nobody is charged for them.",
        RaiseAlert.DiskFilling =>
            $"The disk for capsuls on {row.Subject} is filling: less than {Gib(row.Number)} GiB are free. Free space, "
            + $"or stop placing capsuls there: capsul host drain {row.Subject} --reason disk",
        RaiseAlert.ClockSkew =>
            $"The clock of {row.Subject} is more than a minute {(row.Number > 0 ? "ahead of" : "behind")} the Hub's. "
            + "Start time synchronization there.",
        RaiseAlert.CertificateEnding =>
            $"The certificate of {row.Subject} ends at {Time(row)}, and was not renewed. Restart its Spoke; if "
            + $"that does not help: capsul host invite {row.Subject}, and join again.",
        RaiseAlert.AuthorityEnding =>
            $"The certificate authority of the link ends at {Time(row)}. After that no Spoke can connect; plan to "
            + "replace it, and to let all hosts join again.",
        RaiseAlert.UnknownVm =>
            $"{row.Subject} has {Show.Count(row.Number, "machine", "machines")} that the database does not know, such "
            + $"as {row.Text}. They are left alone. See: capsul fsck --host {row.Subject}",
        RaiseAlert.MailsStuck =>
            $"Emails have been waiting since {Time(row)}. Check the mail server (capsul doctor); they are sent as soon "
            + "as it answers.",
        RaiseAlert.MailsGivenUp =>
            "Emails were given up within the last day; the column problem of the table mails says why.",
        RaiseAlert.OperationOverdue =>
            $"Operation {row.Subject} ({row.Text}) should have ended by {Time(row)}. See its page, or: capsul "
            + $"operation force {row.Subject} --reason TEXT, if its host will not return.",
        RaiseAlert.BackupOverdue =>
            $"The backup that was due at {Time(row)} has not been taken. Check the log of the active Hub, and take "
            + "one: capsul db backup",
        RaiseAlert.VmsPaused =>
            $"The disk of {row.Subject} is full: {Show.Count(row.Number, "capsul is", "capsuls are")} paused, such as "
            + $"{row.Text}. Free space; they go on by themselves, and nobody is charged for them meanwhile.",
        RaiseAlert.HubWithoutAddress =>
            $"There are {row.Number} Hubs, and one of them does not say where Spokes reach it: they will not find it "
            + "when it becomes active. Set CAPSUL_LINK_ADDRESS on each.",
        RaiseAlert.EvacuationStuck =>
            $"{row.Subject} is being evacuated, but {Show.Count(row.Number, "capsul", "capsuls")} cannot be moved, "
            + $"such as {row.Text} It is tried again every few minutes. See the host's page; make room on another "
            + $"host, or end it: capsul host undrain {row.Subject}",
        RaiseAlert.CopyLeft =>
            $"{row.Subject} still has old copies of {Show.Count(row.Number, "capsul", "capsuls")}, such as {row.Text}, "
            + "which were moved away. They are removed when it connects, and take room until then. If it will never "
            + $"come back: capsul host remove {row.Subject}",
        RaiseAlert.MeteringBehind =>
            $"Usage is posted to the ledger only until {Time(row)}. Balances are right all the same. Check the log of "
            + "the active Hub for \"Metering\"; it goes on where it stopped.",
        RaiseAlert.MeteringAhead =>
            $"Usage is posted to the ledger until {Time(row)}, which is in the future: the clock of a Hub was wrong. "
            + "Balances are right all the same. Set the clock; posted balances and statements are right again when "
            + "that time has come.",
        RaiseAlert.ClockJumped =>
            $"What cannot be undone goes by {Time(row)}, and catches up with the clock of the Hub: closing accounts, "
            + "trial credit, sponsorships. No Hub was at work, or its clock has jumped ahead. If it is wrong, set it; "
            + "if it is right, there is nothing to do.",
        RaiseAlert.DunningStuck =>
            $"{Show.Count(row.Number, "account has", "accounts have")} no money left, and the email that says so could "
            + $"not be delivered, such as to {row.Text}. Nothing is stopped for that. Tell them in another way, and "
            + "then: capsul dunning told EMAIL --reason TEXT",
        RaiseAlert.DunningPaused =>
            $"Accounts without money are not reminded, stopped or deleted: dunning is paused ({row.Text}). When all "
            + "payments are recorded: capsul dunning resume",
        RaiseAlert.PaymentsStuck =>
            $"{row.Subject} gives no answer about payments since {Time(row)}, such as {row.Text}. They are asked about "
            + "again and again. See /operator/payments, its status page, and "
            + $"{PaymentProviders.KindOf(row.Subject)?.KeySetting ?? "its settings"}.",
        RaiseAlert.PaymentProblem =>
            $"Provider payment {row.Subject} needs a person: {row.Text} See /operator/payments/{row.Subject}.",
        RaiseAlert.WebhooksRefused =>
            $"Many events that claim to be of {row.Subject} were refused within the last hour: {row.Text} If they are "
            + "its own, the secret of the webhook is wrong: compare it with the provider's. Payments are asked about "
            + "all the same.",
        RaiseAlert.PaymentUnknown =>
            $"{row.Subject} tells of {Show.Count(row.Number, "payment", "payments")} that Capsul began and the "
            + "database does not have, as after a backup was restored. Compare them: capsul ledger reconcile "
            + $"{row.Subject}",
        RaiseAlert.RefundRefused =>
            $"The refund {row.Subject} was not made: {row.Text} The money counts for the account again. Try it "
            + $"again, or send it another way: /operator/payments/{row.Number}",
        RaiseAlert.MoneyUnassigned =>
            $"{Show.Count(row.Number, "bank transfer is", "bank transfers are")} in the ledger without an owner, the "
            + $"first of {Show.Date(row.At!.Value)}. Find out whose it is: /operator/bank.",
        RaiseAlert.ClosingToPay =>
            $"{Show.Count(row.Number, "payment", "payments")} to people who have closed their account cannot go back "
            + $"by itself, the first since {Show.Date(row.At!.Value)}. Pay by hand: /operator/closings.",
        RaiseAlert.AccountsWaiting =>
            $"{Show.Count(row.Number, "account waits", "accounts wait")} to be approved, the first since "
            + $"{Show.Time(row.At!.Value)}: /operator/new-accounts, or capsul limit approve EMAIL.",
        RaiseAlert.FundShort =>
            $"The solidarity fund holds too little: {Show.Count(row.Number, "sponsorship waits", "sponsorships wait")} "
            + $"for it, the first since {Show.Date(row.At!.Value)}; one month of each comes to {Amount(row)}. They are "
            + "paid as soon as the fund can cover them; or end some: /operator/fund.",
        RaiseAlert.PaidAfterClosing =>
            $"{Show.Count(row.Number, "payment", "payments")} came for accounts that are closed, the first on "
            + $"{Show.Date(row.At!.Value)}, and waits in the ledger. Send it back: /operator/closings.",
        RaiseAlert.ClosedBalance =>
            $"The balance of the closed account {row.Subject} is {Amount(row)}, and nothing of it is to be paid. A "
            + "payment was changed after the account was settled. What to do: docs/closing.md, \"When the balance of a "
            + "closed account is not zero\".",
        RaiseAlert.RulesRemoved =>
            $"Somebody or something on {row.Subject} removed rules of the packet filter that is between capsuls, last "
            + "on the day of this alert. They are back. Look for what reloads firewalls there; its rules and Capsul's "
            + "can be side by side if it leaves the table bridge capsul alone.",
        RaiseAlert.VmsCutOff =>
            $"The capsuls on {row.Subject} have been cut off from the outside since {Time(row)}: {row.Text} The host "
            + "tries again every few seconds, and its own ports still lead to them. See capsul doctor there.",
        RaiseAlert.VmBusy =>
            $"{row.Subject} of {row.Text} has used more than {row.Number}% of its CPUs continuously since "
            + $"{Time(row)}, as a crypto miner would. Nothing was done about it: ask its owner, or stop it.",
        RaiseAlert.VmConnections =>
            $"{row.Subject} of {row.Text} tried to open {Show.Count(row.Number, "connection", "connections")} or more "
            + "within an hour, as mail spammers and scanners do. Nothing was done about it: ask its owner, or stop it.",
        RaiseAlert.ProviderDiffers =>
            $"What {row.Subject} says of its payments and what is here have differed since {Time(row)}"
            + (row.Number > 0 ? $", in {Show.Count(row.Number, "payment or refund", "payments or refunds")}" : "")
            + $". See which: capsul ledger reconcile {row.Subject}",
        RaiseAlert.NamesUnpublished =>
            $"The DNS server has not accepted {Show.Count(row.Number, "name", "names")} of addresses, the first since "
            + $"{Time(row)}: {row.Text}. It is told again until it does. Check CAPSUL_DNS_SERVER and CAPSUL_DNS_KEY, "
            + "and that the server lets this key update the reverse zones.",
        _ => throw new InvalidOperationException(row.Kind),
    });

    static string Amount(ConditionRow row) => Show.Dollars(decimal.Parse(row.Text, CultureInfo.InvariantCulture));

    static string Time(ConditionRow row) => Show.Time(row.At!.Value);

    /// <summary>Rounded up, so that the sentence does not change all the time.</summary>
    static string Gib(long mb) => (mb / 1024 + 1).ToString(CultureInfo.InvariantCulture);
}
