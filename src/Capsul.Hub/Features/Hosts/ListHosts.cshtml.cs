using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Hosts;

/// <summary>All hosts, a page at a time.</summary>
[Authorize(Policies.Operator)]
public sealed class ListHostsPage(Db db) : PageModel
{
    const int PageRows = 50;

    [BindProperty(SupportsGet = true, Name = "q")]
    public string? Search { get; set; }

    /// <summary>The last host of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public string? After { get; set; }

    public IReadOnlyList<ShownHostRow> Hosts { get; private set; } = [];

    public bool HasMore { get; private set; }

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var rows = await db.ListAsync<ShownHostRow>(HostPageSql.List,
            new { after = After ?? "", search = Search?.Trim() ?? "", limit = PageRows + 1 }, cancel);
        (Hosts, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }
}
