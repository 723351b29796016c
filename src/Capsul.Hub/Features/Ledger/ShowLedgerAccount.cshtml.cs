using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Ledger;

/// <summary>The entries of one ledger account, each with its source, for operators.</summary>
[Authorize(Policies.Operator)]
public sealed class ShowLedgerAccountPage(Db db, TimeProvider time) : PageModel
{
    const int PageRows = 50;

    [BindProperty(SupportsGet = true)]
    public long N { get; set; }

    /// <summary>The last transaction of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    /// <summary>End of an hour whose usage is to be shown, in seconds since 1970.</summary>
    [BindProperty(SupportsGet = true)]
    public long Hour { get; set; }

    public LedgerAccountRow Account { get; private set; } = null!;

    public IReadOnlyList<LedgerEntryRow> Entries { get; private set; } = [];

    public bool HasMore { get; private set; }

    /// <summary>What is behind the usage of <see cref="Hour"/>.</summary>
    public ChargedTime? Behind { get; private set; }

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<LedgerAccountRow>(LedgerPageSql.FindAccount, new { id = N }, cancel) is not { } account)
            return Problems.Page(new Problem(ProblemKind.NotFound, $"There is no ledger account {N}."));
        Account = account;
        var rows = await db.ListAsync<LedgerEntryRow>(
            LedgerPageSql.ListEntries, new { account = N, after = After, limit = PageRows + 1 }, cancel);
        (Entries, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
        if (Hour is > 0 and < ChargedTime.LastSecond && account.Email is { } email)
        {
            var until = DateTime.UnixEpoch.AddSeconds(Hour);
            Behind = await ChargedTime.LoadAsync(
                db, email, until - TimeSpan.FromHours(1), until, time.GetUtcNow().UtcDateTime, cancel);
        }
        return Page();
    }

    /// <summary>A customer's entries are shown as what they do to the balance.</summary>
    public decimal Shown(decimal amount) => Account.Email is null ? amount : -amount;

    public static long Seconds(DateTime time) => (long)(time - DateTime.UnixEpoch).TotalSeconds;
}
