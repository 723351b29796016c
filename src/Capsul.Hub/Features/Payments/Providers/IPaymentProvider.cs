using Capsul.Foundation;
using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Features.Payments.Providers;

/// <summary>
/// Whoever takes money for us. It is asked and never believed: what an event says only leads to asking. A problem of
/// the kind Unavailable means that the answer is not known and that the same call is to be made again; any other
/// problem is an answer. What only some can do is an interface of its own: <see cref="ISavedCards"/>.
/// </summary>
public interface IPaymentProvider
{
    /// <summary>As in <c>payments.method</c> and in the path of its webhook.</summary>
    string Name { get; }

    /// <summary>What people choose, such as "Card".</summary>
    string Title { get; }

    /// <summary>Nothing that is paid here is money.</summary>
    bool IsPlay { get; }

    /// <summary>How long something may still arrive after a payment has expired.</summary>
    TimeSpan LateFor { get; }

    /// <summary>
    /// Makes a page at the provider on which somebody can pay. Repeated with its key, it makes no other.
    /// </summary>
    Task<Outcome<Checkout>> CreateCheckoutAsync(CheckoutRequest request, CancellationToken cancel);

    /// <summary>What has become of a payment.</summary>
    /// <param name="reference">The provider's ID of its checkout, or of the charge of a saved card.</param>
    Task<Outcome<PaymentState>> AskAsync(string reference, CancellationToken cancel);

    /// <summary>All payments that were begun there since then, in any order; also those of others.</summary>
    Task<Outcome<IReadOnlyList<FoundPayment>>> ListAsync(DateTime since, CancellationToken cancel);

    /// <summary>What was sent to the bank since then, in any order; nothing where money is not kept.</summary>
    Task<Outcome<IReadOnlyList<FoundPayout>>> ListPayoutsAsync(DateTime since, CancellationToken cancel);

    /// <summary>What a payment has lost by refunds is in its state; otherwise only each refund knows it.</summary>
    bool TellsRefunds { get; }

    /// <summary>
    /// Refunds of ours that were offered since then, in any order; none where the state of a payment tells of them.
    /// </summary>
    Task<Outcome<IReadOnlyList<FoundRefund>>> ListRefundsAsync(DateTime since, CancellationToken cancel);

    /// <summary>
    /// Sends money back, or has whoever paid claim it, and says what has become of that. Repeated with its key, it
    /// sends none again.
    /// </summary>
    Task<Outcome<RefundState>> RefundAsync(RefundRequest request, CancellationToken cancel);

    /// <summary>
    /// Verifies that an event is the provider's own, and reads which payment it is about. Forbidden: it is not.
    /// </summary>
    Outcome<ProviderEvent> Read(IHeaderDictionary headers, ReadOnlySpan<byte> body, DateTime now);
}

/// <param name="Key">Idempotency key; kept with the payment at the provider.</param>
/// <param name="ReturnTo">Where the person's browser goes afterwards.</param>
/// <param name="Email">Of the account; null: somebody else pays, and is not to see it.</param>
public sealed record CheckoutRequest(string Key, string? Email, decimal Amount, string Currency, string ReturnTo);

/// <param name="Reference">The provider's ID.</param>
/// <param name="Url">Where the person pays.</param>
public sealed record Checkout(string Reference, string Url);

/// <summary>A payment in the provider's list.</summary>
/// <param name="Key">Of the one who began it; empty if it has none.</param>
/// <param name="Reference">The provider's ID of its checkout.</param>
/// <param name="Status">
/// One of <see cref="PaymentStatus"/>, but never new. What has arrived is asked for singly.
/// </param>
public sealed record FoundPayment(string Key, string Reference, string Url, string Email, decimal Amount,
    string Currency, DateTime Created, string Status)
{
    /// <summary>Nothing was paid, and nothing will be.</summary>
    public bool IsOver => Status is PaymentStatus.Expired or PaymentStatus.Failed;
}

/// <param name="Charge">The provider's ID of the charge.</param>
/// <param name="Reference">The provider's ID of the refund; null: it has not answered yet.</param>
/// <param name="Ends">Until when it can be claimed, where it has to be.</param>
/// <param name="IsOver">That is over, by every clock.</param>
/// <param name="IsWithdrawn">It is to be claimed no longer.</param>
/// <param name="Sent">What had gone back, as it was written down last.</param>
/// <param name="Moving">What was on its way then.</param>
public sealed record RefundRequest(string Key, string Charge, decimal Amount, string Currency, string? Reference,
    DateTime Ends, bool IsOver, bool IsWithdrawn, decimal Sent, decimal Moving);

/// <summary>A refund in the provider's list.</summary>
/// <param name="Charge">The provider's ID of the charge.</param>
public sealed record FoundRefund(string Key, string Reference, string Charge, decimal Amount, DateTime Created);

/// <summary>What has become of a refund. All amounts are in the currency of the request.</summary>
/// <param name="Reference">The provider's ID.</param>
/// <param name="Url">Where whoever paid claims it; empty: it goes back by itself, or is over.</param>
/// <param name="Sent">What has gone back; nothing while that is not certain.</param>
/// <param name="Claimed">What was claimed, and waits at the provider for somebody to pay it.</param>
/// <param name="Moving">What is on its way.</param>
/// <param name="IsFinal">No more will be sent.</param>
/// <param name="Problem">What an operator has to know; else empty.</param>
public sealed record RefundState(string Reference, string Url, decimal Sent, decimal Claimed, decimal Moving,
    bool IsFinal, string Problem);

/// <summary>A payment as its provider sees it now.</summary>
/// <param name="Status">One of <see cref="PaymentStatus"/>, but never new.</param>
/// <param name="Received">What has arrived, and may be spent.</param>
/// <param name="Refunded">What has gone back.</param>
/// <param name="Held">What is under dispute, or was lost by one.</param>
/// <param name="Dispute">Empty, open, lost or won.</param>
/// <param name="Fee">What the provider keeps; 0 if it is not known yet.</param>
/// <param name="Currency">Of all these; in another than ours nothing counts.</param>
/// <param name="Card">What it says of a charge of a saved card; null: it is none.</param>
public sealed record PaymentState(string Status, decimal Received, decimal Refunded, decimal Held, string Dispute,
    decimal Fee, string? Charge, string Currency, CardCharge? Card = null);

/// <summary>The states of a payment through a provider.</summary>
public static class PaymentStatus
{
    /// <summary>Written, but the provider has not answered yet.</summary>
    public const string New = "new";

    /// <summary>The person can pay.</summary>
    public const string Open = "open";

    /// <summary>The person has paid, but the money has not arrived.</summary>
    public const string Pending = "pending";

    public const string Paid = "paid";

    /// <summary>The person did not pay in time.</summary>
    public const string Expired = "expired";

    /// <summary>The provider refused it.</summary>
    public const string Failed = "failed";
}

/// <summary>An event whose signature was right. It may be about any payment at the provider, or about none.</summary>
/// <param name="Id">Of the event.</param>
/// <param name="Key">Idempotency key of the payment, if the event has it.</param>
/// <param name="Reference">The provider's ID of the checkout.</param>
/// <param name="Charge">The provider's ID of the charge.</param>
/// <param name="Refund">The provider's ID of a refund that has to be claimed.</param>
public sealed record ProviderEvent(
    string Id, string Type, string? Key, string? Reference, string? Charge, string? Refund = null);
