using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>All payments that an account has begun through a provider.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ListProviderPaymentsPage(Db db) : PageModel
{
    const int PageRows = 20;

    public IReadOnlyList<ProviderPaymentRow> Payments { get; private set; } = [];

    public bool HasOlder { get; private set; }

    /// <summary>ID of the last payment on the previous page.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var rows = await db.ListAsync<ProviderPaymentRow>(ProviderPaymentSql.ListOwn,
            new { email = Actor.Of(HttpContext).Email, after = After, limit = PageRows + 1 }, cancel);
        (Payments, HasOlder) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }

    /// <summary>In a few words.</summary>
    public static string StateOf(ProviderPaymentRow payment) => payment switch
    {
        { Dispute: "open" } => "disputed, held",
        { Dispute: "lost" } => "lost by a dispute",
        { Status: "new", Automatic: true } => "being charged automatically",
        { Status: "failed", Decline.Length: > 0 } => "declined",
        { Status: "new" } => "asking the provider",
        { Status: "open" } => "not paid yet",
        { Status: "pending" } => "on its way",
        { Status: "expired" } => "not paid in time",
        { Status: "failed" } => "did not work",
        { Refunded: > 0 } when payment.Refunded >= payment.Received => "sent back",
        { Refunded: > 0 } => "paid, partly sent back",
        _ => "paid",
    };
}
