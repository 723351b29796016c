using System.Globalization;
using System.Text.Json.Nodes;

namespace Capsul.Play;

/// <summary>A saved card that is none: one of Stripe's test cards.</summary>
public sealed class PlayCard
{
    /// <summary>The last digits of Stripe's test cards that can be saved, by why they are declined later.</summary>
    public static readonly IReadOnlyList<(string Decline, string Title, string LastFour)> Kinds =
    [
        ("", "Save a card that works", "4242"), ("generic_decline", "Save a card that will be declined", "0341"),
        ("insufficient_funds", "Save a card without enough money", "9995"),
        ("expired_card", "Save a card that will have expired", "0069"),
        ("authentication_required", "Save a card whose bank asks each time", "3184"),
    ];

    public required string Id { get; init; }

    /// <summary>Whose it is; empty: it was detached.</summary>
    public required string Customer { get; set; }

    /// <summary>Why its charges are declined; empty: they are not.</summary>
    public string Decline { get; set; } = "";

    public required string LastFour { get; init; }
}

/// <summary>A page on which a card is entered.</summary>
public sealed class PlayCardPage
{
    public required string Id { get; init; }

    public required string Key { get; init; }

    public required string Customer { get; init; }

    public required string SuccessUrl { get; init; }

    public required string CancelUrl { get; init; }

    public required long Created { get; init; }

    public string Status { get; set; } = "open";

    public PlayCard? Card { get; set; }
}

/// <summary>Customers, their cards, and charges of them without anybody being there.</summary>
public sealed partial class PlayBooks
{
    readonly Dictionary<string, string> customers = new(StringComparer.Ordinal);
    readonly Dictionary<string, PlayCardPage> cardPages = new(StringComparer.Ordinal);
    readonly Dictionary<string, PlayCard> cards = new(StringComparer.Ordinal);

    public IReadOnlyList<PlayCardPage> CardPages
    {
        get { lock (gate) return [.. cardPages.Values]; }
    }

    /// <summary>Also those that were detached.</summary>
    public IReadOnlyList<PlayCard> Cards
    {
        get { lock (gate) return [.. cards.Values]; }
    }

    public JsonObject AddCustomer(IReadOnlyDictionary<string, string> form)
    {
        PlayForms.CheckCustomer(form);
        lock (gate)
        {
            var id = string.Create(CultureInfo.InvariantCulture, $"cus_play{++made:D8}");
            customers[id] = form.GetValueOrDefault("email", "");
            return new JsonObject
            {
                ["id"] = id,
                ["object"] = "customer",
                ["created"] = Now,
                ["email"] = customers[id],
                ["livemode"] = false,
                ["metadata"] = new JsonObject(),
            };
        }
    }

    JsonObject AddCardPage(IReadOnlyDictionary<string, string> form)
    {
        PlayForms.CheckCardPage(form);
        lock (gate)
        {
            var customer = form.GetValueOrDefault("customer", "");
            if (!customers.ContainsKey(customer)) throw PlayError.NoSuch("customer", customer);
            var id = string.Create(CultureInfo.InvariantCulture, $"cs_test_setup{++made:D8}");
            var page = new PlayCardPage
            {
                Id = id,
                Key = form.GetValueOrDefault("client_reference_id", ""),
                Customer = customer,
                SuccessUrl = form["success_url"],
                CancelUrl = form.GetValueOrDefault("cancel_url", form["success_url"]),
                Created = Now,
            };
            cardPages[id] = page;
            return Json(page, expand: false);
        }
    }

    /// <summary>The person enters a card.</summary>
    /// <param name="decline">Why it will be declined; empty: it works.</param>
    public PlayCard EnterCard(string id, string decline = "")
    {
        lock (gate)
        {
            var page = cardPages[id];
            if (page.Status != "open") return page.Card!;
            var card = new PlayCard
            {
                Id = string.Create(CultureInfo.InvariantCulture, $"pm_play{++made:D8}"),
                Customer = page.Customer,
                Decline = decline,
                LastFour = PlayCard.Kinds.First(k => k.Decline == decline).LastFour,
            };
            cards[card.Id] = card;
            (page.Status, page.Card) = ("complete", card);
            tell("checkout.session.completed", Json(page, expand: false));
            return card;
        }
    }

    public void ExpireCardPage(string id)
    {
        lock (gate) cardPages[id].Status = "expired";
    }

    public JsonObject ShowCard(string id)
    {
        lock (gate) return Json(FindCard(id));
    }

    public JsonObject Detach(string id)
    {
        lock (gate)
        {
            var card = FindCard(id);
            if (card.Customer.Length == 0)
                throw PlayError.Invalid("The payment method you provided is not attached to a customer so detachment "
                    + "is impossible.");
            card.Customer = "";
            return Json(card);
        }
    }

    PlayCard FindCard(string id) => cards.GetValueOrDefault(id) ?? throw PlayError.Missing("PaymentMethod", id);

    public JsonObject AddCharge(IReadOnlyDictionary<string, string> form)
    {
        var amount = PlayForms.CheckCharge(form);
        lock (gate)
        {
            var customer = form.GetValueOrDefault("customer", "");
            if (!customers.TryGetValue(customer, out var email)) throw PlayError.NoSuch("customer", customer);
            var id = form.GetValueOrDefault("payment_method", "");
            if (!cards.TryGetValue(id, out var card)) throw PlayError.NoSuch("PaymentMethod", id);
            if (card.Customer != customer)
                throw PlayError.Invalid("The provided PaymentMethod was previously used with a PaymentIntent without "
                    + "Customer attachment, shared with a connected account without Customer attachment, or was "
                    + "detached from a Customer. It may not be used again.", "payment_method");
            return Confirm(form, amount, email, card);
        }
    }

    JsonObject Confirm(IReadOnlyDictionary<string, string> form, long amount, string email, PlayCard card)
    {
        var charge = new PlaySession
        {
            Id = string.Create(CultureInfo.InvariantCulture, $"cs_auto{++made:D8}"),
            Key = form.GetValueOrDefault("metadata[capsul_key]", ""),
            Email = form.GetValueOrDefault("receipt_email", email),
            SuccessUrl = "",
            CancelUrl = "",
            Currency = form["currency"],
            Amount = amount,
            Created = Now,
            Metadata = form.Where(f => f.Key.StartsWith("metadata[", StringComparison.Ordinal))
                .ToDictionary(f => f.Key["metadata[".Length..^1], f => f.Value, StringComparer.Ordinal),
            Card = card,
            Customer = card.Customer,
            Decline = card.Decline,
            Status = "complete",
            PaymentStatus = card.Decline.Length == 0 ? "paid" : "unpaid",
        };
        sessions[charge.Id] = charge;
        tell(charge.IsPaid ? "payment_intent.succeeded" : "payment_intent.payment_failed",
            IntentJson(charge, expand: false));
        if (charge.IsPaid) return IntentJson(charge, expand: false);
        var error = DeclineJson(charge);
        error["payment_intent"] = IntentJson(charge, expand: false);
        throw new PlayError(402, new JsonObject { ["error"] = error });
    }

    /// <summary>Newest first.</summary>
    /// <param name="customer">Whose; empty: all.</param>
    /// <param name="after">The last one of the page before; empty: the first page.</param>
    public JsonObject ListIntents(string customer, long since, string after, int limit)
    {
        lock (gate)
        {
            if (customer.Length > 0 && !customers.ContainsKey(customer)) throw PlayError.NoSuch("customer", customer);
            var rest = sessions.Values.Where(s => s.Status != "open" && s.Created >= since
                && (customer.Length == 0 || s.Customer == customer)).Reverse().ToList();
            if (after.Length > 0) rest = [.. rest.SkipWhile(s => s.Intent != after).Skip(1)];
            return ListJson("/v1/payment_intents", rest.Take(limit).Select(s => IntentJson(s, expand: false)),
                rest.Count > limit);
        }
    }

    public JsonObject ShowIntent(string id, bool expand)
    {
        lock (gate) return IntentJson(OfIntent(id), expand);
    }

    public JsonObject CancelIntent(string id)
    {
        lock (gate)
        {
            var session = OfIntent(id);
            if (session.Decline.Length == 0 || session.Status == "canceled")
                throw PlayError.Invalid("You cannot cancel this PaymentIntent because it has a status of "
                    + $"{(session.IsPaid ? "succeeded" : session.Status)}. Only a PaymentIntent with one of the "
                    + "following statuses may be canceled: requires_payment_method, requires_capture, "
                    + "requires_confirmation, requires_action, processing.", code: "payment_intent_unexpected_state");
            session.Status = "canceled";
            tell("payment_intent.canceled", IntentJson(session, expand: false));
            return IntentJson(session, expand: false);
        }
    }

    /// <summary>Of a decline, whose own code is the more exact one.</summary>
    static string CodeOf(string decline) =>
        decline is "expired_card" or "authentication_required" ? decline : "card_declined";

    static JsonObject DeclineJson(PlaySession charge) => new()
    {
        ["charge"] = charge.Charge,
        ["code"] = CodeOf(charge.Decline),
        ["decline_code"] = charge.Decline == "expired_card" ? null : charge.Decline,
        ["message"] = charge.Decline switch
        {
            "expired_card" => "Your card has expired.",
            "insufficient_funds" => "Your card has insufficient funds.",
            "authentication_required" => "Your card was declined. This transaction requires authentication.",
            _ => "Your card was declined.",
        },
        ["type"] = "card_error",
    };

    JsonObject Json(PlayCardPage page, bool expand) => new()
    {
        ["id"] = page.Id,
        ["object"] = "checkout.session",
        ["cancel_url"] = page.CancelUrl,
        ["client_reference_id"] = page.Key,
        ["created"] = page.Created,
        ["customer"] = page.Customer,
        ["livemode"] = false,
        ["metadata"] = new JsonObject(),
        ["mode"] = "setup",
        ["payment_intent"] = null,
        ["payment_status"] = "no_payment_required",
        ["setup_intent"] = !expand ? JsonValue.Create("seti_" + page.Id[3..]) : new JsonObject
        {
            ["id"] = "seti_" + page.Id[3..],
            ["object"] = "setup_intent",
            ["customer"] = page.Customer,
            ["payment_method"] = page.Card is { } card ? Json(card) : null,
            ["status"] = page.Card is null ? "requires_payment_method" : "succeeded",
        },
        ["status"] = page.Status,
        ["success_url"] = page.SuccessUrl,
        ["url"] = page.Status == "open" ? new Uri(address, $"c/setup/{page.Id}").ToString() : null,
    };

    JsonObject Json(PlayCard card) => new()
    {
        ["id"] = card.Id,
        ["object"] = "payment_method",
        ["card"] = new JsonObject
        {
            ["brand"] = card.LastFour == "0341" ? "mastercard" : "visa",
            ["exp_month"] = 12,
            ["exp_year"] = time.GetUtcNow().Year + 3,
            ["last4"] = card.LastFour,
        },
        ["created"] = Now,
        ["customer"] = card.Customer.Length > 0 ? card.Customer : null,
        ["livemode"] = false,
        ["metadata"] = new JsonObject(),
        ["type"] = "card",
    };
}
