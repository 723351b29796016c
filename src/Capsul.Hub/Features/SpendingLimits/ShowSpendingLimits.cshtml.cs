using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.SpendingLimits;

/// <summary>What an account's month costs, and what its owner has set for it.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowSpendingLimitsPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? MonthlyCap { get; set; }

    [BindProperty]
    public string? BalanceBelow { get; set; }

    [BindProperty]
    public string? UsageAbove { get; set; }

    public SpendingLimitRow Row { get; private set; } = null!;

    /// <summary>What this month comes to if nothing changes.</summary>
    public decimal MonthTotal { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        await LoadAsync(cancel);
        (MonthlyCap, BalanceBelow, UsageAbove) =
            (Typed(Row.MonthlyCap), Typed(Row.BalanceBelow), Typed(Row.UsageAbove));
    }

    static string? Typed(decimal? amount) => amount?.ToString("0.##", CultureInfo.InvariantCulture);

    async Task LoadAsync(CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var month = SetSpendingLimits.MonthOf(now);
        Row = await db.AskAsync<SpendingLimitRow>(SpendingLimitSql.Find, new { email = Email, now, month }, cancel);
        var rest = (decimal)(month.AddMonths(1) - now).TotalSeconds;
        MonthTotal = Row.MonthUsed + Row.DollarsPerMonth * rest / Charges.SecondsPerMonth;
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if ((await SetSpendingLimits.RunAsync(db, settings, Email,
            new SetSpendingLimits.Input(MonthlyCap, BalanceBelow, UsageAbove), time, cancel))
            .Refused(out var problem, out var plan))
        {
            await LoadAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done(plan.IsEmpty ? "You have no spending limits now." : "Your spending limits are saved.");
        return RedirectToPage("ShowSpendingLimits");
    }
}
