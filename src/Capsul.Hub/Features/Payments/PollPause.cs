using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// When a provider is asked again about a payment, whether an event comes or not. The pauses grow with its age.
/// </summary>
public static class PollPause
{
    static readonly TimeSpan Shortest = TimeSpan.FromSeconds(5), Longest = TimeSpan.FromHours(1),
        LongestPaid = TimeSpan.FromDays(30), LongestRefund = TimeSpan.FromDays(3);

    /// <summary>A bank may take a card payment back for 120 days, some for longer.</summary>
    public static readonly TimeSpan PaidFor = TimeSpan.FromDays(180);

    /// <summary>Null: it is final.</summary>
    /// <param name="lateFor">How long something may arrive after it expired.</param>
    public static DateTime? After(string status, DateTime created, TimeSpan lateFor, DateTime now)
    {
        var age = now - created;
        return status switch
        {
            PaymentStatus.Failed => null,
            PaymentStatus.Expired => age > lateFor ? null : now + Clamp(age / 2, Shortest, Longest),
            PaymentStatus.Paid => age > PaidFor ? null : now + Clamp(age, Longest, LongestPaid),
            _ => now + Clamp(age / 2, Shortest, Longest),
        };
    }

    /// <summary>About a refund that was sent, and may still fail. Null: it does not any more.</summary>
    public static DateTime? AfterRefund(DateTime created, DateTime now) => now - created > RefundPayment.FailsFor
        ? null : now + Clamp(now - created, Longest, LongestRefund);

    /// <param name="tries">Without an answer, at least one.</param>
    public static DateTime AfterFailure(int tries, DateTime now) =>
        now + Clamp(Shortest * Math.Pow(2, Math.Min(tries - 1, 12)), Shortest, Longest);

    static TimeSpan Clamp(TimeSpan pause, TimeSpan least, TimeSpan most) =>
        pause < least ? least : pause > most ? most : pause;
}
