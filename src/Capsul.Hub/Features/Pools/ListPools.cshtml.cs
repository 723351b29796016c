using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Pools;

/// <summary>The address pools of all hosts, a page at a time.</summary>
[Authorize(Policies.Operator)]
public sealed class ListPoolsPage(Db db, TimeProvider time) : PageModel
{
    /// <summary>Two for each host.</summary>
    const int PageRows = 100;

    /// <summary>The last host of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public string? After { get; set; }

    public IReadOnlyList<PoolRow> Pools { get; private set; } = [];

    public bool HasMore { get; private set; }

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Pools = await db.ListAsync<PoolRow>(PoolSql.List,
            new { after = After ?? "", limit = PageRows, now = time.GetUtcNow().UtcDateTime }, cancel);
        if (Pools.Count < PageRows) return;
        // The last host may have another one: it is on the next page, whole.
        HasMore = true;
        Pools = [.. Pools.Where(p => p.Host != Pools[^1].Host)];
    }
}
