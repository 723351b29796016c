using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Receipts;

/// <summary>Who sells, and which tax is in the prices; and the receipts that were made.</summary>
[Authorize(Policies.Operator)]
public sealed class OperateReceiptsPage(Db db, TimeProvider time) : PageModel
{
    const int PageRows = 50;

    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Address { get; set; }

    [BindProperty]
    public string? TaxNumber { get; set; }

    [BindProperty]
    public string? TaxLabel { get; set; }

    [BindProperty]
    public string? TaxPercent { get; set; }

    [BindProperty]
    public string? From { get; set; }

    /// <summary>The last number of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public int After { get; set; }

    public IReadOnlyList<SellerRow> Sellers { get; private set; } = [];

    public IReadOnlyList<ReceiptRow> Receipts { get; private set; } = [];

    public IReadOnlyList<ReceiptGapRow> Gaps { get; private set; } = [];

    public bool HasMore { get; private set; }

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Sellers = await db.ListAsync<SellerRow>(ReceiptSql.Sellers, null, cancel);
        Gaps = await db.ListAsync<ReceiptGapRow>(ReceiptSql.Gaps, null, cancel);
        var found = await db.ListAsync<ReceiptRow>(
            ReceiptSql.List, new { after = After, limit = PageRows + 1 }, cancel);
        (Receipts, HasMore) = ([.. found.Take(PageRows)], found.Count > PageRows);
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var input = new SetSeller.Input(Name, Address, TaxNumber, TaxLabel, TaxPercent, From);
        var outcome = await SetSeller.RunAsync(db, Actor.Of(HttpContext).Email, input, time, cancel);
        if (outcome.Refused(out var problem, out var seller))
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done(seller.IsFirst ? "All receipts say that."
            : $"Receipts for payments from {Show.Time(seller.ActiveFrom)} on say that.");
        return RedirectToPage("OperateReceipts");
    }
}
