using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Ledger;

/// <summary>The account's statement for a month, to be printed, or as CSV.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowMonthPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    static readonly Problem NotFoundHere = new(ProblemKind.NotFound, "There is no statement for that month.");

    /// <summary>As yyyy-MM; empty: this month.</summary>
    [BindProperty(SupportsGet = true)]
    public string? Of { get; set; }

    public Month Month { get; private set; } = null!;

    /// <summary>Who sells, at the end of the month; null: not entered.</summary>
    public SellerRow? Seller { get; private set; }

    public BillingAddressRow Address { get; private set; } = BillingAddressRow.None;

    public string Email => Actor.Of(HttpContext).Email;

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public bool IsOver => Month.Until <= Now;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (Month.Parse(Of, Now) is not { } from) return Problems.Page(NotFoundHere);
        Month = await Month.LoadAsync(db, Email, from, Now, cancel);
        Seller = await db.FindAsync<SellerRow>(
            ReceiptSql.SellerAt, new { at = IsOver ? Month.Until : Now }, cancel);
        Address = await db.FindAsync<BillingAddressRow>(
            ReceiptSql.FindAddress, new { email = Email }, cancel) ?? BillingAddressRow.None;
        return Page();
    }

    public async Task<IActionResult> OnGetCsvAsync(CancellationToken cancel)
    {
        if (Month.Parse(Of, Now) is not { } from) return Problems.Page(NotFoundHere);
        var month = await Month.LoadAsync(db, Email, from, Now, cancel);
        return File(Encoding.UTF8.GetBytes(month.ToCsv(settings.Currency.Code)), "text/csv; charset=utf-8",
            $"capsul-{month.Key}.csv");
    }
}
