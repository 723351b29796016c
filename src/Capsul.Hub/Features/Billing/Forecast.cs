using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Features.Billing;

/// <summary>How long the money of the signed-in account lasts: shown on every page.</summary>
/// <param name="Balance">When the request began.</param>
/// <param name="IsStopped">Its VMs are stopped because it has not paid.</param>
/// <param name="Closes">The account is being closed, and may be reopened until then.</param>
public sealed record Forecast(BalanceRow Balance, bool IsStopped, DateTime? Closes)
{
    /// <summary>From here on the forecast is a warning.</summary>
    const int WarnDays = 7;

    public bool IsUsedUp => Balance is { DollarsPerMonth: > 0, Balance: <= 0 };

    public bool IsLow => Balance.RunwayDays is < WarnDays;

    /// <summary>Whether there is something to say at the top of each page.</summary>
    public bool IsWarning => Closes is not null || IsStopped || IsUsedUp || IsLow;

    /// <summary>Beside the link to the balance; null: nothing is spent.</summary>
    public string? Short => Balance.RunwayDays is not { } days ? null
        : IsUsedUp ? "used up" : days < 1 ? "under a day" : days >= 1000 ? "1,000+ days"
        : Web.Show.Count((long)days, "day", "days");

    /// <summary>Null when nobody is signed in.</summary>
    public static Forecast? Of(HttpContext context) => context.Features.Get<Forecast>();
}
