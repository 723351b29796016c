using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Ledger;

/// <summary>
/// What everybody may check: the rules of the ledger, its sums, and when they were last verified. Nothing personal.
/// What it shows was computed by the hourly verification, so it costs nothing to open.
/// </summary>
[Authorize(Policies.Public)]
public sealed class ShowLedgerPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    public LedgerCheckRow? Check { get; private set; }

    public IReadOnlyList<LedgerSumRow> Sums { get; private set; } = [];

    public IReadOnlyList<ProviderTotalRow> Providers { get; private set; } = [];

    public CurrencyRow Currency { get; private set; } = null!;

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (!settings.PublicLedger && !Policies.IsOperator(settings, Actor.Find(HttpContext)?.Email))
            return Problems.Status(404);
        Currency = await db.AskAsync<CurrencyRow>(CurrencySql.Find, null, cancel);
        Check = await db.FindAsync<LedgerCheckRow>(LedgerCheckSql.Find, null, cancel);
        Sums = await db.ListAsync<LedgerSumRow>(LedgerCheckSql.ListSums, null, cancel);
        Providers = await db.ListAsync<ProviderTotalRow>(ProviderTotalSql.List, null, cancel);
        return Page();
    }

    /// <summary>A type of ledger account in words.</summary>
    public static string Title(string type, string name) => type switch
    {
        "customer" => "Customers' credit",
        "usage_income" => "Usage income",
        "cash" => "Cash",
        "bank" => "Bank",
        "provider_clearing" when name == "play" => "Play money",
        "provider_clearing" => $"Money at {PaymentProviders.KindOf(name)?.Company ?? name}",
        "provider_fees" => $"Fees of {PaymentProviders.KindOf(name)?.Company ?? name}",
        "solidarity_fund" => "Solidarity fund",
        "write_off" => "Written off",
        "tax" => "Tax",
        "tax_in_prices" => "Tax included in prices",
        "vouchers" => "Vouchers",
        "trial_credit" => "Trial credit",
        _ => "To be assigned",
    };
}
