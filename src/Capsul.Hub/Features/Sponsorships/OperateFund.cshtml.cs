using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>The solidarity fund, for operators: what is in it, where it came from, and whom it helps.</summary>
[Authorize(Policies.Operator)]
public sealed class OperateFundPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    const int PageRows = 50;

    [BindProperty]
    public string? Email { get; set; }

    [BindProperty]
    public string? Amount { get; set; }

    /// <summary>once or monthly.</summary>
    [BindProperty]
    public string? Often { get; set; }

    [BindProperty]
    public string? Until { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    /// <summary>Under which an amount is given once, however often the form is sent.</summary>
    [BindProperty]
    public string? Key { get; set; }

    [BindProperty]
    public long Id { get; set; }

    /// <summary>Last transaction of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    /// <summary>Last sponsorship of the page before, and whether it has ended.</summary>
    [BindProperty(SupportsGet = true)]
    public long SponsorshipsAfter { get; set; }

    [BindProperty(SupportsGet = true)]
    public bool Ended { get; set; }

    public decimal Balance { get; private set; }

    /// <summary>Of all sponsorships that go on.</summary>
    public decimal PerMonth { get; private set; }

    public long Sponsored { get; private set; }

    public IReadOnlyList<SponsorshipRow> Sponsorships { get; private set; } = [];

    public bool HasMoreSponsorships { get; private set; }

    public IReadOnlyList<FundEntryRow> History { get; private set; } = [];

    public bool HasMore { get; private set; }

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    string Me => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Key ??= FundKey.Make();
        Balance = await db.AskAsync<decimal>(FundSql.Balance, null, cancel);
        (PerMonth, Sponsored) = await db.AskAsync<PromisedRow>(SponsorshipSql.Promised, null, cancel);
        var sponsorships = await db.ListAsync<SponsorshipRow>(SponsorshipSql.List,
            new { after = SponsorshipsAfter, isEnded = Ended, limit = PageRows + 1 }, cancel);
        (Sponsorships, HasMoreSponsorships) = ([.. sponsorships.Take(PageRows)], sponsorships.Count > PageRows);
        var history = await db.ListAsync<FundEntryRow>(
            FundSql.History, new { after = After, limit = PageRows + 1 }, cancel);
        (History, HasMore) = ([.. history.Take(PageRows)], history.Count > PageRows);
    }

    public Task<IActionResult> OnPostAsync(CancellationToken cancel) => Often switch
    {
        "once" => GrantAsync(cancel),
        "monthly" => SponsorAsync(cancel),
        _ => RefuseAsync(new Problem(ProblemKind.Invalid, "Choose how often.") { Field = "Often" }, null, cancel),
    };

    async Task<IActionResult> GrantAsync(CancellationToken cancel)
    {
        var outcome = await GrantMoney.RunAsync(
            db, settings, Me, new GrantMoney.Input(Email, Amount, Reason), Key, time, cancel);
        if (outcome.Refused(out var problem, out var payment)) return await RefuseAsync(problem, null, cancel);
        this.Done($"{Email} has been credited (payment {payment}).");
        return RedirectToPage("OperateFund");
    }

    async Task<IActionResult> SponsorAsync(CancellationToken cancel)
    {
        var outcome = await SponsorAccount.RunAsync(
            db, settings, Me, new SponsorAccount.Input(Email, Amount, Until, Reason), time, cancel);
        if (outcome.Refused(out var problem, out var made)) return await RefuseAsync(problem, null, cancel);
        this.Done(SponsorAccount.Say(made));
        return RedirectToPage("OperateFund");
    }

    public async Task<IActionResult> OnPostEndAsync(CancellationToken cancel)
    {
        var outcome = await EndSponsorship.RunAsync(db, Me, Id, Reason, time, cancel);
        if (outcome.Refused(out var problem, out var email))
            return await RefuseAsync(problem, problem.Field is null ? null : $"Why-{Id}", cancel);
        this.Done($"The sponsorship of {email} has ended.");
        return RedirectToPage("OperateFund");
    }

    async Task<IActionResult> RefuseAsync(Problem problem, string? field, CancellationToken cancel)
    {
        await OnGetAsync(cancel);
        return this.Refuse(problem, field);
    }
}
