using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments;

/// <summary>What has become of a payment that arrived, for the pages of whoever paid.</summary>
public enum PaidOutcome
{
    /// <summary>All of it counts, or a part.</summary>
    Counts,

    /// <summary>A refund is on its way, or can be claimed.</summary>
    GoesBack,

    SentBack,

    /// <summary>Or was lost by a dispute.</summary>
    Disputed,

    /// <summary>By an operator, by hand.</summary>
    TakenBack,

    NotCredited,
}

/// <summary>What the pages of a payment say.</summary>
public static class PaidWords
{
    public static PaidOutcome OutcomeOf(ProviderPaymentRow payment, IEnumerable<ProviderRefundRow> refunds) =>
        payment.Counts > 0 ? PaidOutcome.Counts
        : refunds.Any(r => r.Going > 0 || r.Status == "pending") ? PaidOutcome.GoesBack
        : payment.Held > 0 ? PaidOutcome.Disputed
        : payment.Refunded > 0 ? PaidOutcome.SentBack
        : payment.Credited > 0 ? PaidOutcome.TakenBack
        : PaidOutcome.NotCredited;

    /// <summary>Until when something that was sent too late still counts; null: nothing does any more.</summary>
    public static DateTime? LateUntil(ProviderPaymentRow payment, IPaymentProvider? provider, DateTime now) =>
        provider is { LateFor: var late } && payment.Status == PaymentStatus.Expired && late > TimeSpan.Zero
            && now <= payment.Created + late ? payment.Created + late : null;
}
