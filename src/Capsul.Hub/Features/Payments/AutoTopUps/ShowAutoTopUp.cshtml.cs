using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>
/// Automatic top-up of an account: its card, what it has set, and what was charged. It never waits for the provider:
/// while there is no answer, it says so and is loaded again.
/// </summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowAutoTopUpPage(
    Db db, PaymentProviders providers, Settings settings, Site site, TimeProvider time) : PageModel
{
    /// <summary>The person has just begun to save a card: goes on to the provider as soon as there is a page.</summary>
    [BindProperty(SupportsGet = true)]
    public bool Go { get; set; }

    /// <summary>The page has been loaded before, so that this is no answer to a form.</summary>
    [BindProperty(SupportsGet = true)]
    public bool Waited { get; set; }

    [BindProperty]
    public string? Threshold { get; set; }

    [BindProperty]
    public string? Amount { get; set; }

    [BindProperty]
    public string? Cap { get; set; }

    public bool IsOffered => providers.SavingCards.Count > 0;

    public bool IsPlay => providers.All.Any(p => p is ISavedCards && p.IsPlay);

    public decimal Least => settings.PaymentLeast;

    public decimal Most => settings.PaymentMost;

    public SavedCardRow? Card { get; private set; }

    /// <summary>On which a card can be entered.</summary>
    public SavedCardRow? EntryPage { get; private set; }

    /// <summary>Null: it was never turned on.</summary>
    public AutoTopUpRow? Row { get; private set; }

    public bool HasReturned => Request.Query.ContainsKey("returned");

    /// <summary>Where the page goes by itself, and after how many seconds; null: it stays.</summary>
    public (string Path, int Seconds)? Next => EntryPage is null ? null
        : Go ? ("/balance/auto?go=true&waited=true", 1)
        : HasReturned || EntryPage.Status == "new" ? ("/balance/auto?returned=1", 3) : null;

    string Email => Actor.Of(HttpContext).Email;

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var (email, now) = (Email, Now);
        EntryPage = await db.FindAsync<SavedCardRow>(SavedCardSql.FindPage, new { email }, cancel);
        if (EntryPage is { Status: "open", Url.Length: > 0 } page && Go && Waited) return Redirect(page.Url);
        if (EntryPage is not null && HasReturned)
            await db.ExecuteAsync(SavedCardSql.Hurry, new { email, now }, cancel);
        Card = await db.FindAsync<SavedCardRow>(SavedCardSql.FindSaved, new { email }, cancel);
        Row = await db.FindAsync<AutoTopUpRow>(AutoTopUpSql.Find, new { email, now }, cancel);
        if (!IsOffered && Card is null && Row is null)
            return Problems.Page(new Problem(ProblemKind.NotFound, "Automatic top-up is not offered here."));
        Threshold ??= Typed(Row?.Threshold ?? Least);
        Amount ??= Typed(Row?.Amount ?? Math.Clamp(20, Least, Most));
        Cap ??= Typed(Row?.Cap ?? 3 * Math.Clamp(20, Least, Most));
        return Page();
    }

    static string Typed(decimal amount) => amount.ToString("0.##", CultureInfo.InvariantCulture);

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var set = await SetAutoTopUp.RunAsync(
            db, settings, Email, new SetAutoTopUp.Input(Threshold, Amount, Cap), time, cancel);
        if (!set.Refused(out var problem, out var plan))
        {
            this.Done($"Automatic top-up is on: {Show.Dollars(plan.Amount)} when your balance falls below "
                + $"{Show.Dollars(plan.Threshold)}.");
            return RedirectToPage("ShowAutoTopUp");
        }
        if (problem.Field is null) return Problems.Page(problem);
        var page = await OnGetAsync(cancel);
        return page is PageResult ? this.Refuse(problem) : page;
    }

    public async Task<IActionResult> OnPostCardAsync(CancellationToken cancel)
    {
        var begun = await SaveCard.RunAsync(db, providers, site, Email, null, time, cancel);
        // Not to the provider at once: a form of this site leads to this site only.
        return begun.Refused(out var problem, out _) ? Problems.Page(problem)
            : RedirectToPage("ShowAutoTopUp", new { go = true });
    }

    public async Task<IActionResult> OnPostOffAsync(CancellationToken cancel)
    {
        if ((await TurnOffAutoTopUp.RunAsync(db, Email, time, cancel)).Refused(out var problem, out _))
            return Problems.Page(problem);
        this.Done("Automatic top-up is off.");
        return RedirectToPage("ShowAutoTopUp");
    }

    public async Task<IActionResult> OnPostRemoveAsync(CancellationToken cancel)
    {
        if ((await TurnOffAutoTopUp.RemoveCardAsync(db, Email, time, cancel)).Refused(out var problem, out _))
            return Problems.Page(problem);
        this.Done("The card has been removed, and automatic top-up is off.");
        return RedirectToPage("/Payments/ShowBalance");
    }
}
