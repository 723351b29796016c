using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Ledger;

/// <summary>All ledger accounts, for operators.</summary>
[Authorize(Policies.Operator)]
public sealed class ListLedgerAccountsPage(Db db) : PageModel
{
    const int PageRows = 50;

    public IReadOnlyList<LedgerAccountLineRow> Accounts { get; private set; } = [];

    public bool HasMore { get; private set; }

    /// <summary>The last account of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    /// <summary>Part of an email address.</summary>
    [BindProperty(SupportsGet = true, Name = "q")]
    public string? Search { get; set; }

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var search = (Search ?? "").Trim().ToLowerInvariant();
        var rows = await db.ListAsync<LedgerAccountLineRow>(
            LedgerPageSql.ListAccounts, new { after = After, search, limit = PageRows + 1 }, cancel);
        (Accounts, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }
}
