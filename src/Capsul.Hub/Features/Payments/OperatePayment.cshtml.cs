using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>A payment through a provider, for operators: what is known of it, and sending it back.</summary>
[Authorize(Policies.Operator)]
public sealed class OperatePaymentPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public long N { get; set; }

    /// <summary>To send back; empty: all that is left.</summary>
    [BindProperty]
    public string? Amount { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    public ProviderPaymentRow Payment { get; private set; } = null!;

    public IReadOnlyList<ProviderRefundRow> Refunds { get; private set; } = [];

    public IReadOnlyList<ProviderEventRow> Events { get; private set; } = [];

    public IReadOnlyList<CreditRow> Credits { get; private set; } = [];

    public decimal Left => Payment.Received - Payment.Refunded - Payment.Held
        - Refunds.Where(r => r.Status == "open").Sum(r => r.Amount);

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<ProviderPaymentRow>(ProviderPaymentSql.Find, new { id = N }, cancel) is not { } payment)
            return Problems.Page(new Problem(ProblemKind.NotFound, $"There is no provider payment {N}."));
        Payment = payment;
        Refunds = await db.ListAsync<ProviderRefundRow>(ProviderRefundSql.OfPayment, new { payment = N }, cancel);
        Events = await db.ListAsync<ProviderEventRow>(ProviderEventSql.OfPayment, new { id = N }, cancel);
        Credits = await db.ListAsync<CreditRow>(ProviderPaymentSql.Credits, new { id = N }, cancel);
        return Page();
    }

    public async Task<IActionResult> OnPostRefundAsync(CancellationToken cancel)
    {
        var outcome = await RefundPayment.RunAsync(
            db, settings, Actor.Of(HttpContext).Email, N, Amount, Reason, time, cancel);
        if (outcome.Refused(out var problem, out var amount))
        {
            if (problem.Field is null) return Problems.Page(problem);
            var page = await OnGetAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done($"{Show.Dollars(amount)} is being sent back.");
        return RedirectToPage("OperatePayment", new { n = N });
    }
}
