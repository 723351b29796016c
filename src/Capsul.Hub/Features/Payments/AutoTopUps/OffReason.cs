using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>Why automatic top-up is off, as in <c>auto_top_ups.off_because</c>.</summary>
public static class OffReason
{
    public const string Owner = "owner", Operator = "operator", Declined = "declined", Refunded = "refunded",
        Disputed = "disputed", Doubtful = "doubtful", Closing = "closing", Card = "card";

    /// <summary>A sentence for the person.</summary>
    public static string Say(string reason) => reason switch
    {
        "" => "Automatic top-up is on.",
        Operator => "An operator has turned automatic top-up off.",
        Declined => "Automatic top-up has turned itself off, because your card was declined several times in a row.",
        Refunded => "A charge was refunded, so automatic top-up has turned itself off: otherwise the same money would "
            + "be charged again.",
        Disputed => "A charge was disputed, so automatic top-up has turned itself off.",
        Doubtful => "A charge could not be checked, so automatic top-up has turned itself off. The operator has been "
            + "told.",
        Closing => "Automatic top-up was turned off when the account was being closed.",
        Card => "Automatic top-up is off, because the card was removed.",
        _ => "Automatic top-up is off.",
    };

    /// <summary>Why a charge was declined, and what to do about it. A provider's codes are many.</summary>
    public static string SayDecline(string code) => code switch
    {
        "expired_card" => "The card has expired. Save another one.",
        "insufficient_funds" => "There was not enough money on the card's account.",
        "authentication_required" => "Your bank wants you to approve the payment yourself, which is not possible for "
            + "an automatic one. Add money by hand, or save another card.",
        "lost_card" or "stolen_card" or "pickup_card" => "The bank does not accept this card any more. Save another "
            + "one.",
        "no_answer" => "The payment provider did not answer for a day, and nothing was charged.",
        "refused" => "The payment provider did not accept the charge, and nothing was charged. If that happens again, "
            + "save the card anew.",
        _ => "The bank declined the card. Ask your bank, or save another card.",
    };

    /// <summary>The last problem in words; null: there is none.</summary>
    public static string? ProblemOf(AutoTopUpRow row) => row switch
    {
        { OffBecause: not ("" or Owner or Declined) } => Say(row.OffBecause),
        { Decline.Length: > 0, OffBecause: Declined } => $"{Say(Declined)} {SayDecline(row.Decline)}",
        { Decline.Length: > 0, OffBecause: "", PausedUntil: { } until } =>
            $"The last charge did not work. {SayDecline(row.Decline)} It is tried again after {Show.Time(until)}.",
        _ => null,
    };
}
