using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.FriendLinks;

/// <summary>A payment by a friend's link, for whoever began it: whether it has arrived.</summary>
[Authorize(Policies.Public)]
public sealed class ShowFriendPaymentPage(Db db, PaymentProviders providers, TimeProvider time) : PageModel
{
    /// <summary>People that come back are not to make the provider be asked more often than this.</summary>
    static readonly TimeSpan HurryEvery = TimeSpan.FromSeconds(3);

    [BindProperty(SupportsGet = true)]
    public string Token { get; set; } = "";

    /// <summary>The person has just begun: goes on to the provider as soon as there is somewhere to go.</summary>
    [BindProperty(SupportsGet = true)]
    public bool Go { get; set; }

    /// <summary>The page has been loaded before, so that this is no answer to a form.</summary>
    [BindProperty(SupportsGet = true)]
    public bool Waited { get; set; }

    public ProviderPaymentRow Payment { get; private set; } = null!;

    public IReadOnlyList<ProviderRefundRow> Refunds { get; private set; } = [];

    /// <summary>What goes back, and has to be claimed.</summary>
    public IEnumerable<ProviderRefundRow> Claims => Refunds.Where(r => r.IsOffered);

    public PaidOutcome Outcome => PaidWords.OutcomeOf(Payment, Refunds);

    /// <summary>What was sent too late counts until then; null: not any more.</summary>
    public DateTime? LateUntil =>
        PaidWords.LateUntil(Payment, providers.Find(Payment.Provider), time.GetUtcNow().UtcDateTime);

    public bool IsPlay => providers.Find(Payment.Provider)?.IsPlay ?? false;

    /// <summary>Where the page goes by itself, and after how many seconds; null: it stays.</summary>
    public (string Path, int Seconds)? Next => !Payment.IsMoving ? null
        : Go && Payment.Status is PaymentStatus.New or PaymentStatus.Open
            ? ($"/give/payments/{Token}?go=true&waited=true", 1)
        : ($"/give/payments/{Token}?returned=1", 10);

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<ProviderPaymentRow>(
            ProviderPaymentSql.FindForPayer, new { hash = Secret.Hash(Token) }, cancel) is not { } payment)
            return Problems.Page(new Problem(ProblemKind.NotFound, "There is no such payment."));
        Payment = payment;
        if (payment is { Status: PaymentStatus.Open, Url.Length: > 0 } && Go && Waited) return Redirect(payment.Url);
        Refunds = await db.ListAsync<ProviderRefundRow>(
            ProviderRefundSql.OfPayment, new { payment = payment.Id }, cancel);
        var now = time.GetUtcNow().UtcDateTime;
        if (payment.IsMoving && Request.Query.ContainsKey("returned"))
            await db.ExecuteAsync(
                ProviderPaymentSql.Hurry, new { id = payment.Id, now, before = now - HurryEvery }, cancel);
        return Page();
    }
}
