using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.FriendLinks;

/// <summary>Where a friend's link leads: a name and an amount, nothing of the account.</summary>
[Authorize(Policies.Public)]
public sealed class PayForFriendPage(
    Db db, PaymentProviders providers, Settings settings, Site site, ReturnSeal seal, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Code { get; set; } = "";

    [BindProperty]
    public string? Amount { get; set; }

    [BindProperty]
    public string? Provider { get; set; }

    public string Name { get; private set; } = "";

    public IReadOnlyList<IPaymentProvider> Providers => providers.All;

    public bool IsPlay => providers.All.Any(p => p.IsPlay);

    public decimal Least => settings.PaymentLeast;

    public decimal Most => settings.PaymentMost;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<FriendLinkRow>(FriendLinkSql.Find, new { hash = Secret.Hash(Code) }, cancel)
            is not { } link)
            return Problems.Page(PayForFriend.NotFound);
        Name = link.Name;
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var provider = Provider ?? (providers.All.Count == 1 ? providers.All[0].Name : null);
        var begun = await PayForFriend.RunAsync(
            db, providers, settings, site, seal, Code, provider, Amount, time, cancel);
        if (!begun.Refused(out var problem, out var token))
            // Written out: links that are made for a page are in lower case, and the token is not.
            return LocalRedirect($"/give/payments/{token}?go=true");
        // That the account is being closed is nobody else's business.
        if (problem.Kind is ProblemKind.NotFound or ProblemKind.Conflict) return Problems.Page(PayForFriend.NotFound);
        return await OnGetAsync(cancel) is PageResult ? this.Refuse(problem) : Problems.Page(PayForFriend.NotFound);
    }
}
