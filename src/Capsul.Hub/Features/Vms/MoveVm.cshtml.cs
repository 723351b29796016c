using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>Asks an operator where a VM goes.</summary>
[Authorize(Policies.Operator)]
public sealed class MoveVmPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    const int ShownHosts = 100;

    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    [BindProperty]
    public string? To { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    public VmRow Vm { get; private set; } = null!;

    /// <summary>Those that have room, best first.</summary>
    public IReadOnlyList<string> Hosts { get; private set; } = [];

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<VmRow>(MoveSql.FindVm, new { id = Id }, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        Vm = vm;
        Hosts = await db.ListAsync<string>(
            MovePlaceSql.Candidates, MoveVm.Needs(vm, settings, time, ShownHosts), cancel);
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await MoveVm.RunAsync(db, Actor.Of(HttpContext).Email, new MoveVm.Input(Id, To), Reason,
            settings, time, cancel);
        if (outcome.Problem is { } problem)
            return problem.Field is not null && await OnGetAsync(cancel) is PageResult
                ? this.Refuse(problem) : Problems.Page(problem);
        this.Done("The move has begun.");
        return RedirectToPage("/Operations/ShowOperation", new { n = outcome.Value });
    }
}
