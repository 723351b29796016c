using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Features.Vouchers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>The ways to add money that are configured.</summary>
[Authorize(Policies.SignedIn)]
public sealed class AddMoneyPage(Db db, PaymentProviders providers, Settings settings, Site site, TimeProvider time)
    : PageModel
{
    public IReadOnlyList<IPaymentProvider> Providers => providers.All;

    public bool IsPlay => providers.All.Any(p => p.IsPlay);

    public decimal Least => settings.PaymentLeast;

    public decimal Most => settings.PaymentMost;

    public string? Bank => settings.BankDetails;

    /// <summary>The address for support, or null when none was set.</summary>
    public string? Support => Site.HasSupport(settings) ? settings.SupportEmail : null;

    /// <summary>What this account writes on a bank transfer; null if there is no bank.</summary>
    public string? Reference { get; private set; }

    /// <summary>There are vouchers that this account might redeem.</summary>
    public bool HasVouchers { get; private set; }

    [BindProperty]
    public string? Amount { get; set; }

    [BindProperty]
    public string? Provider { get; set; }

    /// <summary>Of a voucher.</summary>
    [BindProperty]
    public string? Code { get; set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Reference = Bank is null ? null : ReferenceCode.Shown(await ReferenceCode.OfAsync(db, Email, cancel));
        HasVouchers = await db.AskAsync<bool>(
            VoucherSql.AreOffered, new { email = Email, now = time.GetUtcNow().UtcDateTime }, cancel);
    }

    public async Task<IActionResult> OnPostRedeemAsync(CancellationToken cancel)
    {
        var outcome = await RedeemVoucher.RunAsync(db, Email, Code, time, cancel);
        if (outcome.Refused(out var problem, out var amount))
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done($"{Show.Dollars(amount)} is on your balance.");
        return RedirectToPage("ShowBalance");
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var provider = Provider ?? (providers.All.Count == 1 ? providers.All[0].Name : null);
        var begun = await AddMoney.RunAsync(db, providers, settings, site, Email, provider, Amount, time, cancel);
        if (!begun.Refused(out var problem, out var id))
            // Not to the provider at once: a form of this site leads to this site only.
            return RedirectToPage("ShowProviderPayment", new { id, go = true });
        if (problem.Kind == ProblemKind.NotFound) return Problems.Page(problem);
        await OnGetAsync(cancel);
        return this.Refuse(problem);
    }
}
