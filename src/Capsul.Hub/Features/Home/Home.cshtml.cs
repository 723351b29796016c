using Capsul.Hub.Features.PriceLevels;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.Vms;
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

    /// <summary>What a further IPv4 address costs; null: none is offered.</summary>
    public ExtraPriceRow? Address { get; private set; }

    /// <summary>Prices that are announced, soonest first.</summary>
    public IReadOnlyList<PriceRow> Coming { get; private set; } = [];

    /// <summary>Of which people choose what they pay, the lowest first.</summary>
    public IReadOnlyList<PriceLevelRow> Levels { get; private set; } = [];

    public IReadOnlyList<string> Images { get; private set; } = [];

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var email = Actor.Find(HttpContext)?.Email ?? "";
        Sizes = await db.ListAsync<SizeRow>(SizeSql.Offered, new { now, email }, cancel);
        Address = await db.FindAsync<ExtraPriceRow>(
            ExtraSql.Price, new { kind = Billing.Prices.FurtherAddress, now }, cancel);
        Coming = await db.ListAsync<PriceRow>(PriceSql.Coming, new { now, email }, cancel);
        Levels = await db.ListAsync<PriceLevelRow>(PriceLevelSql.Offered, null, cancel);
        Images = await db.ListAsync<string>(HomeSql.Images, null, cancel);
    }
}
