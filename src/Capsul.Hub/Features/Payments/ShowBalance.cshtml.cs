using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Features.PriceLevels;
using Capsul.Hub.Features.Sponsorships;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Features.Vouchers;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>An account's balance, payments and charges; and the form for play money where it is offered.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowBalancePage(Db db, PaymentProviders providers, Settings settings, TimeProvider time)
    : PageModel
{
    /// <summary>Rows of each table on one page.</summary>
    public const int PageRows = 20;

    /// <summary>Entries of the ledger that are shown, as lines of the statement: about three days.</summary>
    const int StatementEntries = 72;

    /// <summary>Days at which the runway bar is full.</summary>
    public const int FullDays = 60;

    public BalanceRow Balance { get; private set; } = null!;

    /// <summary>Its newest lines.</summary>
    public Statement Statement { get; private set; } = null!;

    public IReadOnlyList<PaymentRow> Payments { get; private set; } = [];

    public long PaymentCount { get; private set; }

    public bool HasOlderPayments { get; private set; }

    public IReadOnlyList<VmCostRow> Costs { get; private set; } = [];

    public long CostCount { get; private set; }

    public bool HasOlderCosts { get; private set; }

    /// <summary>What happens when nothing is left; empty: nothing does.</summary>
    public string Outlook { get; private set; } = "";

    public DunningPlaceRow Place { get; private set; } = null!;

    /// <summary>There are vouchers that this account might redeem.</summary>
    public bool HasVouchers { get; private set; }

    /// <summary>What the account gets from the solidarity fund each month; null: nothing.</summary>
    public SponsorshipRow? Sponsorship { get; private set; }

    /// <summary>Trial credit that has not lapsed; null: none.</summary>
    public TrialRow? Trial { get; private set; }

    /// <summary>What the account pays of the standard price.</summary>
    public ChosenLevelRow Level { get; private set; } = null!;

    /// <summary>There is something to choose, or something was chosen.</summary>
    public bool HasLevels { get; private set; }

    /// <summary>What the account has set; null: it never had automatic top-up.</summary>
    public AutoTopUpRow? Auto { get; private set; }

    /// <summary>A card can be saved here, and charged later.</summary>
    public bool SavesCards => providers.SavingCards.Count > 0;

    public bool PlayMoney => settings.Development;

    /// <summary>Whether money can be added by people themselves.</summary>
    public bool CanPay => providers.All.Count > 0 || settings.BankDetails is not null;

    /// <summary>The address for support, or null when none was set.</summary>
    public string? Support => Site.HasSupport(settings) ? settings.SupportEmail : null;

    [BindProperty]
    public string? Dollars { get; set; }

    /// <summary>ID of the last payment on the previous page.</summary>
    [BindProperty(SupportsGet = true)]
    public int PaymentsAfter { get; set; }

    /// <summary>ID of the last VM on the previous page.</summary>
    [BindProperty(SupportsGet = true)]
    public string? UsageAfter { get; set; }

    /// <summary>Part of a VM's name or id.</summary>
    [BindProperty(SupportsGet = true, Name = "q")]
    public string? Search { get; set; }

    public string Email => Actor.Of(HttpContext).Email;

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public Task OnGetAsync(CancellationToken cancel) => LoadAsync(cancel);

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if (TopUp.Decide(new TopUp.Facts(settings.Development), Dollars).Refused(out var problem, out var plan))
        {
            if (problem.Kind != ProblemKind.Invalid)
                return Problems.Page(problem);
            await LoadAsync(cancel);
            return this.Refuse(problem);
        }
        var outcome = await db.DecideAsync<int>(async transaction => await RecordPayment.InAsync(
            transaction, Email, plan.Dollars, "play", "", Email, Now, cancel), cancel);
        if (outcome.Problem is { } refused)
        {
            await LoadAsync(cancel);
            return this.Refuse(refused);
        }
        this.Done($"{Show.Dollars(plan.Dollars)} of play money added.");
        return RedirectToPage("ShowBalance");
    }

    /// <summary>How full the runway bar is, 0 to 100.</summary>
    public int RunwayPercent =>
        Balance.RunwayDays is { } days ? (int)Math.Clamp(days / FullDays * 100, 0, 100) : Balance.Balance > 0 ? 100 : 0;

    async Task LoadAsync(CancellationToken cancel)
    {
        var (email, now, limit) = (Email, Now, PageRows + 1);
        HasVouchers = await db.AskAsync<bool>(VoucherSql.AreOffered, new { email, now }, cancel);
        Level = await db.AskAsync<ChosenLevelRow>(PriceLevelSql.Chosen, new { email, since = now }, cancel);
        HasLevels = Level.Level is not null
            || (await db.ListAsync<PriceLevelRow>(PriceLevelSql.Offered, null, cancel)).Count > 0;
        Trial = await db.FindAsync<TrialRow>(TrialSql.FindOf, new { email }, cancel);
        Sponsorship = await db.FindAsync<SponsorshipRow>(SponsorshipSql.FindOf, new { email }, cancel);
        Auto = await db.FindAsync<AutoTopUpRow>(AutoTopUpSql.Find, new { email, now }, cancel);
        Balance = (await db.FindAsync<BalanceRow>(BillingSql.Balance, new { email, now }, cancel))!;
        var dunning = new DunningTable(await db.ListAsync<DunningStepRow>(DunningSql.Steps, null, cancel));
        Place = await db.AskAsync<DunningPlaceRow>(DunningPageSql.Place, new { email, now }, cancel);
        Outlook = dunning.Describe(
            dunning.At(Place.Step), Balance.Balance > 0, now, TimeSpan.FromSeconds(Place.Seconds));
        Statement = await Statement.LoadAsync(db, email, 0, StatementEntries, cancel);
        var payments = await db.ListAsync<PaymentRow>(
            PaymentSql.List, new { email, after = PaymentsAfter, limit }, cancel);
        (Payments, HasOlderPayments) = ([.. payments.Take(PageRows)], payments.Count > PageRows);
        PaymentCount = await db.FindAsync<long>(BillingSql.CountPayments, new { email }, cancel);
        var search = (Search ?? "").Trim();
        var costs = await db.ListAsync<VmCostRow>(
            BillingSql.CostOfVms, new { email, now, search, after = UsageAfter ?? "", limit }, cancel);
        (Costs, HasOlderCosts) = ([.. costs.Take(PageRows)], costs.Count > PageRows);
        CostCount = await db.FindAsync<long>(BillingSql.CountCosts, new { email, now, search }, cancel);
    }
}
