using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>A payment through a provider, for operators: what is known of it, and sending it back.</summary>
[Authorize(Policies.Operator)]
public sealed class OperatePaymentPage(Db db, PaymentProviders providers, Settings settings, TimeProvider time)
    : PageModel
{
    [BindProperty(SupportsGet = true)]
    public long N { get; set; }

    /// <summary>To send back; empty: all that is left.</summary>
    [BindProperty]
    public string? Amount { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    /// <summary>Number of the refund to be withdrawn.</summary>
    [BindProperty]
    public long Refund { get; set; }

    public ProviderPaymentRow Payment { get; private set; } = null!;

    public IReadOnlyList<ProviderRefundRow> Refunds { get; private set; } = [];

    public IReadOnlyList<ProviderEventRow> Events { get; private set; } = [];

    public IReadOnlyList<CreditRow> Credits { get; private set; } = [];

    /// <summary>Money does not go back by itself.</summary>
    public bool IsClaimed => providers.Find(Payment.Provider) is { TellsRefunds: false };

    public decimal Left => RefundPayment.Left(Payment, Refunds.Sum(r => r.Going), settings.Currency.Decimals);

    /// <summary>Here, by hand: it has gone back by another way.</summary>
    public decimal TakenBack => CreditPayment.TakenBack(Payment.Credited, Payment.Counts);

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

    public async Task<IActionResult> OnPostWithdrawAsync(CancellationToken cancel)
    {
        var outcome = await WithdrawRefund.RunAsync(
            db, Actor.Of(HttpContext).Email, Refund, "on the page of the payment", time, cancel);
        if (outcome.Refused(out var problem, out _)) return Problems.Page(problem);
        this.Done("The refund is being withdrawn.");
        return RedirectToPage("OperatePayment", new { n = N });
    }

    /// <summary>In a few words.</summary>
    public static string StateOf(ProviderRefundRow refund) => refund switch
    {
        { Status: "open" } => "the provider has not answered yet",
        { Status: "pending" } => "the provider is sending it",
        { IsOffered: true, Withdrawn: not null, Claimed: > 0 } =>
            "being withdrawn: pay or cancel the claim at the provider",
        { IsOffered: true, Withdrawn: not null } => "being withdrawn",
        { IsOffered: true, Claimed: > 0 } => "claimed: pay it at the provider",
        { IsOffered: true, Moving: > 0 } => "claimed, and on its way",
        { IsOffered: true } => $"can be claimed until {Show.Time(refund.Ends)}",
        { Status: "done" } when refund.Sent < refund.Amount => "over, and what was not claimed counts again",
        { Status: "done" } => "sent back",
        _ => refund.Status,
    };
}
