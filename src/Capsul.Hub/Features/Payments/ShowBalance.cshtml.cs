using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>What an account has, what came in, what it went to; and the form for play money where there is any.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowBalancePage(Db db, Settings settings, TimeProvider time) : PageModel
{
    public BalanceRow Balance { get; private set; } = null!;

    public IReadOnlyList<PaymentSql.Row> Payments { get; private set; } = [];

    public IReadOnlyList<BillingSql.VmCost> Costs { get; private set; } = [];

    public bool PlayMoney => settings.Development;

    public string Support => settings.SupportEmail;

    [BindProperty]
    public string? Dollars { get; set; }

    public string? Refusal { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public Task OnGetAsync(CancellationToken cancel) => LoadAsync(cancel);

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if (TopUp.Decide(new TopUp.Facts(settings.Development), Dollars).Refused(out var problem, out var plan))
        {
            if (problem.Kind != ProblemKind.Invalid)
                return Problems.Page(problem);
            Refusal = problem.Message;
            Response.StatusCode = problem.HttpStatus;
            await LoadAsync(cancel);
            return Page();
        }
        await db.InTransactionAsync(transaction =>
            RecordPayment.InAsync(transaction, Email, plan.Dollars, "play", "", Email, Now, cancel), cancel);
        return Redirect("/balance");
    }

    /// <summary>How full the picture of the runway is, 0 to 100: full at two months.</summary>
    public int RunwayPercent => Balance.RunwayDays is { } days ? (int)Math.Clamp(days / 60 * 100, 0, 100) : Balance.Balance > 0 ? 100 : 0;

    async Task LoadAsync(CancellationToken cancel)
    {
        Balance = (await db.FindAsync<BalanceRow>(BillingSql.Balance, new { email = Email, now = Now }, cancel))!;
        Payments = await db.ListAsync<PaymentSql.Row>(PaymentSql.List, new { email = Email }, cancel);
        Costs = await db.ListAsync<BillingSql.VmCost>(BillingSql.CostOfVms, new { email = Email, now = Now }, cancel);
    }
}
