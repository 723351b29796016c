using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Home;

/// <summary>The landing page: what this is, what it costs, how it works.</summary>
[Authorize(Policies.Public)]
public sealed class HomePage(Db db, TimeProvider time) : PageModel
{
    public IReadOnlyList<SizeRow> Sizes { get; private set; } = [];

    /// <summary>Prices that are announced, soonest first.</summary>
    public IReadOnlyList<PriceRow> Coming { get; private set; } = [];

    public IReadOnlyList<string> Images { get; private set; } = [];

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        Sizes = await db.ListAsync<SizeRow>(SizeSql.Offered, new { now }, cancel);
        Coming = await db.ListAsync<PriceRow>(PriceSql.Coming, new { now }, cancel);
        Images = await db.ListAsync<string>(HomeSql.Images, null, cancel);
    }
}
