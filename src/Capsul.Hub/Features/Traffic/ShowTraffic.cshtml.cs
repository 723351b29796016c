using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Traffic;

/// <summary>The traffic of a VM by month.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowTrafficPage(Db db, Settings settings) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    public VmRow Vm { get; private set; } = null!;

    public IReadOnlyList<TrafficRow> Months { get; private set; } = [];

    /// <summary>What is meant for a month, bytes; 0: nobody has said.</summary>
    public long Limit => settings.TrafficBytes;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var email = Actor.Of(HttpContext).Email;
        if (await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email }, cancel) is not { } vm)
            return Problems.Page(VmAction.NotFound);
        Vm = vm;
        Months = await db.ListAsync<TrafficRow>(TrafficSql.Months, new { id = Id, email }, cancel);
        return Page();
    }
}
