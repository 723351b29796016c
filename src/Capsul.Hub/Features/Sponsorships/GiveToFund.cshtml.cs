using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>A person gives a part of their balance to the solidarity fund.</summary>
[Authorize(Policies.SignedIn)]
public sealed class GiveToFundPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Amount { get; set; }

    [BindProperty]
    public bool Confirmed { get; set; }

    /// <summary>Under which it is given once, however often the form is sent.</summary>
    [BindProperty]
    public string? Key { get; set; }

    /// <summary>That can be given.</summary>
    public decimal Most { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Key ??= FundKey.Make();
        Most = await GiveToFund.MostNowAsync(db, Email, settings.Currency.Decimals, time, cancel);
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await GiveToFund.RunAsync(db, settings, Email, Email,
            new GiveToFund.Input(Amount, Confirmed), Key, "", time, cancel);
        if (outcome.Problem is { } problem)
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done("Thank you. It is in the solidarity fund.");
        return RedirectToPage("/Payments/ShowBalance");
    }
}
