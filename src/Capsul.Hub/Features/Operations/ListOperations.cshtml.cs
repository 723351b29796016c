using Capsul.Hub.Engine;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Operations;

/// <summary>Operations, newest first, a page at a time.</summary>
[Authorize(Policies.Operator)]
public sealed class ListOperationsPage(Db db, TimeProvider time) : PageModel
{
    const int PageRows = 50;

    public static readonly IReadOnlyList<(string Name, string Title)> Choices =
        [("open", "Running"), ("overdue", "Past their deadline"), ("all", "All")];

    [BindProperty(SupportsGet = true)]
    public string? Which { get; set; }

    [BindProperty(SupportsGet = true, Name = "q")]
    public string? Search { get; set; }

    /// <summary>The last operation of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public long Before { get; set; }

    public IReadOnlyList<OperationRow> Operations { get; private set; } = [];

    public bool HasMore { get; private set; }

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Which = Choices.Any(c => c.Name == Which) ? Which : "open";
        var search = Search?.Trim() ?? "";
        var sql = Which != "all" ? OperationPageSql.ListOpen
            : search.Length == 0 ? OperationPageSql.ListAll : OperationPageSql.ListOf;
        var before = Before > 0 ? Before : long.MaxValue;
        var rows = await db.ListAsync<OperationRow>(
            sql, new { which = Which, now = Now, before, search, limit = PageRows + 1 }, cancel);
        (Operations, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }
}
