using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Addresses;

/// <summary>The IPv4 addresses of a VM: ordering another one, and giving one back.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowAddressesPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    /// <summary>The one that is given back.</summary>
    [BindProperty]
    public string? Address { get; set; }

    /// <summary>A month, as it was shown.</summary>
    [BindProperty]
    public string? Price { get; set; }

    public VmRow Vm { get; private set; } = null!;

    public IReadOnlyList<VmAddressRow> Further { get; private set; } = [];

    /// <summary>Why none can be ordered now; null: one can.</summary>
    public string? Refusal { get; private set; }

    /// <summary>What another one costs a month; null: none is offered.</summary>
    public decimal? Offered { get; private set; }

    /// <summary>Prices that are announced, soonest first.</summary>
    public IReadOnlyList<PriceRow> Coming { get; private set; } = [];

    string Email => Actor.Of(HttpContext).Email;

    /// <summary>What the owner types inside the capsul, so that it uses an address at once.</summary>
    public static string Command(string address) =>
        $"sudo ip address add {address}/32 dev \"$(ip -4 route show default | cut -d ' ' -f 5)\"";

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        var now = time.GetUtcNow().UtcDateTime;
        Vm = vm;
        Further = await db.ListAsync<VmAddressRow>(ExtraSql.OfVm, new { id = Id }, cancel);
        var (refusal, price) = await OrderAddress.OfferAsync(db, vm, settings.MaxAddresses, now, cancel);
        (Refusal, Offered) = (refusal?.Message, price?.DollarsPerMonth);
        Coming = [.. (await db.ListAsync<PriceRow>(PriceSql.Coming, new { now, email = Email }, cancel))
            .Where(p => p.Size == Billing.Prices.FurtherAddress)];
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var seen = decimal.TryParse(Price, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var price)
            ? price : -1;
        var ordered = await OrderAddress.RunAsync(db, Email, Email, Id, seen, settings, time, cancel);
        return await AfterAsync(ordered.Problem, $"{ordered.Value?.Address} is yours.", cancel);
    }

    public async Task<IActionResult> OnPostReturnAsync(CancellationToken cancel)
    {
        var returned = await ReturnAddress.RunAsync(db, Email, Email, Id, Address, time, cancel);
        return await AfterAsync(returned.Problem, $"{returned.Value} is given back.", cancel);
    }

    async Task<IActionResult> AfterAsync(Problem? problem, string done, CancellationToken cancel)
    {
        if (problem is not null)
        {
            if (problem.Kind == ProblemKind.NotFound) return Problems.Page(problem);
            var page = await OnGetAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done(done);
        return RedirectToPage("ShowAddresses", new { id = Id });
    }
}
