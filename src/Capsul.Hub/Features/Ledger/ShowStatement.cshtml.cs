using System.Globalization;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Ledger;

/// <summary>
/// The account's lines in the ledger: payments, and usage by the day. A day leads to the charged time and the
/// operations behind it.
/// </summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowStatementPage(Db db, TimeProvider time) : PageModel
{
    /// <summary>The last transaction of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    /// <summary>A day or a month whose charged time is to be shown.</summary>
    [BindProperty(SupportsGet = true)]
    public string? Day { get; set; }

    public Statement Statement { get; private set; } = null!;

    public PostedRow Posted { get; private set; } = null!;

    public ChargedTime? Behind { get; private set; }

    public string Email => Actor.Of(HttpContext).Email;

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Posted = (await db.FindAsync<PostedRow>(LedgerPageSql.Posted, new { email = Email }, cancel))!;
        Statement = await Statement.LoadAsync(db, Email, After, Statement.PageEntries, cancel);
        if (Until(Day) is var (from, until))
            Behind = await ChargedTime.LoadAsync(db, Email, from, until, Now, cancel);
    }

    /// <summary>A day, or the month of a line from before the ledger; null for what is neither, or later.</summary>
    (DateTime From, DateTime Until)? Until(string? text)
    {
        const DateTimeStyles Utc = DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal;
        var culture = CultureInfo.InvariantCulture;
        return DateTime.TryParseExact(text, Statement.DayFormat, culture, Utc, out var day) && day < Now
                ? (day, day.AddDays(1))
            : DateTime.TryParseExact(text, Statement.MonthFormat, culture, Utc, out var month) && month < Now
                ? (month, month.AddMonths(1)) : null;
    }
}
