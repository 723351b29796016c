using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// A payment through a provider, for the person who pays. It never waits for the provider: while there is no answer,
/// it says so and is loaded again.
/// </summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowProviderPaymentPage(Db db, PaymentProviders providers, TimeProvider time) : PageModel
{
    /// <summary>People that come back are not to make the provider be asked more often than this.</summary>
    static readonly TimeSpan HurryEvery = TimeSpan.FromSeconds(3);

    [BindProperty(SupportsGet = true)]
    public long Id { get; set; }

    /// <summary>The person has just begun: goes on to the provider as soon as there is somewhere to go.</summary>
    [BindProperty(SupportsGet = true)]
    public bool Go { get; set; }

    /// <summary>The page has been loaded before, so that this is no answer to a form.</summary>
    [BindProperty(SupportsGet = true)]
    public bool Waited { get; set; }

    public ProviderPaymentRow Payment { get; private set; } = null!;

    public IReadOnlyList<ProviderRefundRow> Refunds { get; private set; } = [];

    /// <summary>What the person can claim; who pays for a friend has a page of their own.</summary>
    public IEnumerable<ProviderRefundRow> Claims => Payment.ByFriend ? [] : Refunds.Where(r => r.IsOffered);

    public PaidOutcome Outcome => PaidWords.OutcomeOf(Payment, Refunds);

    /// <summary>What was sent too late is credited until then; null: not any more.</summary>
    public DateTime? LateUntil =>
        PaidWords.LateUntil(Payment, providers.Find(Payment.Provider), time.GetUtcNow().UtcDateTime);

    public string Title => providers.Find(Payment.Provider)?.Title ?? Payment.Provider;

    public bool IsPlay => providers.Find(Payment.Provider)?.IsPlay ?? false;

    /// <summary>Where the page goes by itself, and after how many seconds; null: it stays.</summary>
    public (string Path, int Seconds)? Next => !Payment.IsMoving ? null
        : Go && Payment.Status is PaymentStatus.New or PaymentStatus.Open
            ? ($"/balance/payments/{Id}?go=true&waited=true", 1)
        : Payment.Status == PaymentStatus.Open ? ($"/balance/payments/{Id}?returned=1", 10)
        : ($"/balance/payments/{Id}?returned=1", 5);

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var email = Actor.Of(HttpContext).Email;
        if (await db.FindAsync<ProviderPaymentRow>(ProviderPaymentSql.FindOwn, new { id = Id, email }, cancel)
            is not { } payment)
            return Problems.Page(new Problem(ProblemKind.NotFound, "There is no such payment."));
        Payment = payment;
        if (payment is { Status: PaymentStatus.Open, Url.Length: > 0 } && Go && Waited) return Redirect(payment.Url);
        Refunds = await db.ListAsync<ProviderRefundRow>(ProviderRefundSql.OfPayment, new { payment = Id }, cancel);
        var now = time.GetUtcNow().UtcDateTime;
        if (payment.IsMoving && Request.Query.ContainsKey("returned"))
            await db.ExecuteAsync(ProviderPaymentSql.Hurry, new { id = Id, now, before = now - HurryEvery }, cancel);
        return Page();
    }
}
