using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Operators;

/// <summary>What is open, and how many of everything.</summary>
[Authorize(Policies.Operator)]
public sealed class ShowOverviewPage(Db db, TimeProvider time) : PageModel
{
    const int ClearedRows = 30;

    public OverviewRow Overview { get; private set; } = null!;

    public IReadOnlyList<AlertRow> Alerts { get; private set; } = [];

    public IReadOnlyList<ClearedAlertRow> Cleared { get; private set; } = [];

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Overview = (await db.FindAsync<OverviewRow>(OverviewSql.Find, new { now = Now }, cancel))!;
        Alerts = await db.ListAsync<AlertRow>(AlertSql.Open, null, cancel);
        Cleared = await db.ListAsync<ClearedAlertRow>(AlertSql.Cleared, new { limit = ClearedRows }, cancel);
    }
}
