using Capsul.Foundation;

namespace Capsul.Hub.Features.Payments.Providers;

/// <summary>
/// What some providers can do besides: keep a card, which is charged later without its owner being there. As with
/// <see cref="IPaymentProvider"/>, a problem of the kind Unavailable means that the same call is to be made again.
/// </summary>
public interface ISavedCards
{
    /// <summary>
    /// Makes a page at the provider on which somebody enters a card. Repeated with its key, it makes no other.
    /// </summary>
    Task<Outcome<CardPage>> CreateCardPageAsync(CardPageRequest request, CancellationToken cancel);

    /// <summary>Whether a card was entered.</summary>
    /// <param name="key">Of the request that made the page.</param>
    /// <param name="reference">The provider's ID of the page.</param>
    Task<Outcome<CardPageState>> AskCardPageAsync(string key, string reference, CancellationToken cancel);

    /// <summary>
    /// Charges a card, and returns the provider's ID of the charge, whatever comes of it: that is asked for like any
    /// payment. Repeated with its key, it charges no second time.
    /// </summary>
    Task<Outcome<string>> ChargeAsync(ChargeRequest request, CancellationToken cancel);

    /// <summary>Takes a card away at the provider. One that is not there is taken away already.</summary>
    /// <param name="method">The provider's ID of the card.</param>
    Task<Outcome<bool>> RemoveCardAsync(string method, CancellationToken cancel);
}

/// <param name="Key">Idempotency key; kept at the provider.</param>
/// <param name="ReturnTo">Where the person's browser goes afterwards.</param>
public sealed record CardPageRequest(string Key, string Email, string ReturnTo);

/// <param name="Customer">The provider's ID of whose card it will be.</param>
/// <param name="Reference">The provider's ID of the page.</param>
/// <param name="Url">Where the person enters the card.</param>
public sealed record CardPage(string Customer, string Reference, string Url);

/// <param name="Card">Null: none was entered.</param>
/// <param name="IsOver">None can be entered any more.</param>
public sealed record CardPageState(EnteredCard? Card, bool IsOver);

/// <param name="Method">The provider's ID of the card.</param>
/// <param name="LastFour">Digits.</param>
/// <param name="Expires">The first day on which it is not valid any more.</param>
public sealed record EnteredCard(string Method, string Brand, string LastFour, DateOnly Expires);

/// <param name="Key">Idempotency key; kept with the charge at the provider.</param>
/// <param name="Email">Of the account; the provider sends the receipt there. Empty: to nobody.</param>
/// <param name="Created">When it was written down.</param>
/// <param name="IsLookup">The key is too old: if there is no such charge, none is made, and that is the answer.</param>
public sealed record ChargeRequest(string Key, string Customer, string Method, string Email, decimal Amount,
    string Currency, DateTime Created, bool IsLookup);

/// <summary>What the provider says a charge of a saved card is.</summary>
/// <param name="Key">That it was made with.</param>
/// <param name="Customer">Whose card it was.</param>
/// <param name="Decline">Why it was declined, in the provider's code; empty: it was not.</param>
public sealed record CardCharge(string Key, string Customer, string Decline);
