using Capsul.Hub.Features.Billing;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>The VMs of an account, a page at a time.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ListVmsPage(Db db, TimeProvider time) : PageModel
{
    public const int PageRows = 50;

    /// <summary>From this many VMs on, the search form is shown.</summary>
    const int ManyRows = 6;

    public static readonly IReadOnlyList<(string Name, string Title)> Sorts =
        [("newest", "Newest first"), ("name", "Name"), ("price", "Price")];

    public IReadOnlyList<ListedVmRow> Vms { get; private set; } = [];

    /// <summary>Version and size of the list.</summary>
    public VmListRow Head { get; private set; } = null!;

    /// <summary>Part of a name or id.</summary>
    [BindProperty(SupportsGet = true, Name = "q")]
    public string? Search { get; set; }

    [BindProperty(SupportsGet = true)]
    public string? State { get; set; }

    [BindProperty(SupportsGet = true)]
    public string? Sort { get; set; }

    /// <summary>ID of the last VM on the previous page.</summary>
    [BindProperty(SupportsGet = true)]
    public string? After { get; set; }

    /// <summary>Read with the session.</summary>
    public BalanceRow Balance => Forecast.Of(HttpContext)!.Balance;

    /// <summary>Version of the list that this page shows.</summary>
    public string Seen => VmEvents.Seen(Head.Changes);

    public bool HasMore { get; private set; }

    public bool CanSearch => Head.All >= ManyRows || Head.Matching < Head.All;

    /// <summary>Whether an operation is running, so that a page without JavaScript reloads itself.</summary>
    public bool Busy => Vms.Any(v => VmState.Of(v).Tone == "busy");

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var email = Actor.Of(HttpContext).Email;
        var now = time.GetUtcNow().UtcDateTime;
        var (search, state, after) = ((Search ?? "").Trim(), State ?? "", After ?? "");
        var found = await db.ListPairsAsync<VmListRow, ListedVmRow>(
            Statement, new { email, now, search, state, after, limit = PageRows + 1 }, cancel);
        Head = found[0].First;
        Vms = [.. found.Select(row => row.Second).OfType<ListedVmRow>().Take(PageRows)];
        HasMore = found.Count > PageRows;
    }

    string Statement => Sort switch
    {
        "name" => VmPageSql.ListByName,
        "price" => VmPageSql.ListByPrice,
        _ => VmPageSql.ListByNewest,
    };
}
