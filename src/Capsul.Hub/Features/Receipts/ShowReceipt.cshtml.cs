using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Receipts;

/// <summary>The receipt of a payment, and its credit notes, to be printed.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowReceiptPage(Db db, TimeProvider time) : PageModel
{
    /// <summary>Of the payment.</summary>
    [BindProperty(SupportsGet = true)]
    public int Id { get; set; }

    public ReceiptPaymentRow Payment { get; private set; } = null!;

    public IReadOnlyList<ReceiptRow> Receipts { get; private set; } = [];

    /// <summary>There is something of which no receipt or credit note is made yet.</summary>
    public bool IsMore { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var payment = await db.FindAsync<ReceiptPaymentRow>(
            ReceiptSql.FindPayment, new { id = Id, email = Email }, cancel);
        if (payment is null) return Problems.Page(IssueReceipt.NotFound);
        Payment = payment;
        Receipts = await db.ListAsync<ReceiptRow>(ReceiptSql.OfPayment, new { id = Id }, cancel);
        var turns = await db.ListAsync<ReceiptTurnRow>(ReceiptSql.Turns, new { id = Id }, cancel);
        IsMore = payment.HasReceipt && turns.Any(t => t.Number is null);
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel) =>
        (await IssueReceipt.RunAsync(db, Email, Id, time, cancel)).Refused(out var problem, out _)
            ? Problems.Page(problem) : RedirectToPage("ShowReceipt", new { Id });
}
