using System.Globalization;
using System.Text.Json.Nodes;

namespace Capsul.Play;

/// <summary>A claim of a pull payment.</summary>
public sealed class PlayClaim
{
    public required string Id { get; init; }

    /// <summary>In the currency of the pull payment.</summary>
    public required decimal Amount { get; init; }

    public required string Destination { get; init; }

    /// <summary>AwaitingApproval, AwaitingPayment, InProgress, Completed or Cancelled.</summary>
    public string State { get; set; } = "AwaitingApproval";

    public bool IsOpen => State is "AwaitingApproval" or "AwaitingPayment";
}

public sealed class PlayPull
{
    public required string Id { get; init; }

    public required string Name { get; init; }

    public required string Description { get; init; }

    public required decimal Amount { get; init; }

    public required string Currency { get; init; }

    /// <summary>Seconds of Unix time.</summary>
    public required long Starts { get; init; }

    /// <summary>Seconds of Unix time; null: never.</summary>
    public required long? Expires { get; init; }

    public bool Archived { get; set; }

    public List<PlayClaim> Payouts { get; } = [];

    public decimal Sent => Payouts.Where(p => p.State == "Completed").Sum(p => p.Amount);
}

/// <summary>
/// The pull payments of the play BTCPay Server. As there, the payouts of an archived one are shown to nobody, and
/// archiving cancels what is not on its way yet.
/// </summary>
public sealed class PlayPulls(Uri address, Func<TimeProvider> time)
{
    const int MaxNameChars = 50;

    readonly Lock gate = new();
    readonly List<PlayPull> pulls = [];

    public IReadOnlyList<PlayPull> All
    {
        get { lock (gate) return [.. pulls]; }
    }

    PlayPull? Find(string id) => pulls.Find(p => p.Id == id);

    /// <exception cref="FormatException">It is refused.</exception>
    public JsonObject Add(JsonObject body)
    {
        var amount = decimal.TryParse(body["amount"]?.GetValue<string>(), NumberStyles.AllowDecimalPoint,
            CultureInfo.InvariantCulture, out var number) ? number : 0;
        if (amount <= 0) throw new FormatException("The amount should more than 0.");
        var name = body["name"]?.GetValue<string>() ?? "";
        if (name.Length > MaxNameChars) throw new FormatException("The name should be maximum 50 characters.");
        if (body["currency"]?.GetValue<string>() is not { Length: 3 } currency)
            throw new FormatException("Invalid currency");
        lock (gate)
        {
            var pull = new PlayPull
            {
                Id = string.Create(CultureInfo.InvariantCulture, $"PlayPull{pulls.Count + 1}"),
                Name = name,
                Description = body["description"]?.GetValue<string>() ?? "",
                Amount = amount,
                Currency = currency,
                Starts = time().GetUtcNow().ToUnixTimeSeconds() - 1,
                Expires = body["expiresAt"]?.GetValue<long>(),
            };
            pulls.Add(pull);
            return Json(pull);
        }
    }

    /// <summary>Newest first.</summary>
    public JsonArray List(bool includeArchived)
    {
        lock (gate)
            return new JsonArray([.. pulls.AsEnumerable().Reverse().Where(p => includeArchived || !p.Archived)
                .Select(Json)]);
    }

    /// <summary>Null: there is none.</summary>
    public JsonObject? Show(string id)
    {
        lock (gate) return Find(id) is { } pull ? Json(pull) : null;
    }

    /// <summary>Null: there is no such pull payment.</summary>
    public JsonArray? ListPayouts(string id, bool includeCancelled)
    {
        lock (gate)
            return Find(id) is not { } pull ? null : new JsonArray([.. pull.Payouts
                .Where(p => !pull.Archived && (includeCancelled || p.State != "Cancelled"))
                .Select(p => Json(pull, p))]);
    }

    /// <summary>Whoever has the link says where to. Returns the payout, or the code of the refusal.</summary>
    /// <param name="amount">Null: all that is left.</param>
    public (PlayClaim? Payout, string Code) Claim(string id, string destination, decimal? amount)
    {
        lock (gate)
        {
            if (Find(id) is not { } pull) return (null, "pullpayment-not-found");
            if (pull.Archived) return (null, "archived");
            if (pull.Expires <= time().GetUtcNow().ToUnixTimeSeconds()) return (null, "expired");
            if (pulls.Exists(p => p.Payouts.Exists(o => o.Destination == destination
                && o.State is not ("Completed" or "Cancelled"))))
                return (null, "duplicate-destination");
            var left = pull.Amount - pull.Payouts.Where(p => p.State != "Cancelled").Sum(p => p.Amount);
            var claimed = amount ?? left;
            if (claimed > left) return (null, "overdraft");
            if (claimed <= 0) return (null, "amount-too-low");
            var payout = new PlayClaim
            {
                Id = string.Create(CultureInfo.InvariantCulture, $"{pull.Id}Payout{pull.Payouts.Count + 1}"),
                Amount = claimed,
                Destination = destination,
            };
            pull.Payouts.Add(payout);
            return (payout, "");
        }
    }

    /// <summary>False: there is none.</summary>
    public bool Archive(string id)
    {
        lock (gate)
        {
            if (Find(id) is not { } pull) return false;
            pull.Archived = true;
            foreach (var payout in pull.Payouts.Where(p => p.IsOpen)) payout.State = "Cancelled";
            return true;
        }
    }

    JsonObject Json(PlayPull pull) => new()
    {
        ["id"] = pull.Id,
        ["name"] = pull.Name,
        ["description"] = pull.Description,
        ["currency"] = pull.Currency,
        ["amount"] = pull.Amount.ToString(CultureInfo.InvariantCulture),
        ["startsAt"] = pull.Starts,
        ["expiresAt"] = pull.Expires,
        ["autoApproveClaims"] = false,
        ["archived"] = pull.Archived,
        ["viewLink"] = new Uri(address, $"pull-payments/{pull.Id}").ToString(),
    };

    static JsonObject Json(PlayPull pull, PlayClaim payout) => new()
    {
        ["id"] = payout.Id,
        ["pullPaymentId"] = pull.Id,
        ["destination"] = payout.Destination,
        ["originalCurrency"] = pull.Currency,
        ["originalAmount"] = payout.Amount.ToString(CultureInfo.InvariantCulture),
        ["payoutCurrency"] = "BTC",
        ["payoutMethodId"] = "BTC-CHAIN",
        ["state"] = payout.State,
    };
}
