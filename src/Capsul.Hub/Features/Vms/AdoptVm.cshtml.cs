using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>Asks whose VM a foreign machine of a host becomes, and of which size.</summary>
[Authorize(Policies.Operator)]
public sealed class AdoptVmPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    /// <summary>UUID of the machine.</summary>
    [BindProperty(SupportsGet = true)]
    public string? Domain { get; set; }

    [BindProperty]
    public string? Account { get; set; }

    [BindProperty]
    public string? Size { get; set; }

    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    /// <summary>Those that can be adopted.</summary>
    public IReadOnlyList<ForeignMachineRow> Machines { get; private set; } = [];

    public IReadOnlyList<SizeRow> Sizes { get; private set; } = [];

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<string>(HostSql.StateOf, new { id = Id }, cancel) is null)
            return Problems.Page(DrainHost.NotFound(Id));
        Machines = [.. (await db.ListAsync<ForeignMachineRow>(ForeignMachineSql.OfHost, new { host = Id }, cancel))
            .Where(m => m.Refusal.Length == 0)];
        Sizes = await db.ListAsync<SizeRow>(
            SizeSql.Offered, new { now = time.GetUtcNow().UtcDateTime, email = "" }, cancel);
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var adopted = await AdoptVm.RunAsync(db, Actor.Of(HttpContext).Email,
            new AdoptVm.Input(Id, Domain ?? "", Account, Size, Name, Reason), settings, time, cancel);
        if (adopted.Refused(out var problem, out var vm))
            return problem.Field is not null && await OnGetAsync(cancel) is PageResult
                ? this.Refuse(problem) : Problems.Page(problem);
        this.Done($"{vm} is being made of the machine, which is shut down for it.");
        return RedirectToPage("/Hosts/ShowHost", new { id = Id });
    }
}
