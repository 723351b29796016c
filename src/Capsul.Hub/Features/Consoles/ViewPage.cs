using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Consoles;

/// <summary>A page that shows something of a VM: what its console and its screen have in common.</summary>
public abstract class ViewPage(Db db, Sessions sessions, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    public VmRow Vm { get; private set; } = null!;

    /// <summary>Version of the VM that this page shows.</summary>
    public string Seen { get; private set; } = "";

    /// <summary>Why nothing can be shown now; null if something can, or will be soon.</summary>
    public string? Refusal { get; private set; }

    /// <summary>What its owner may do to its power now.</summary>
    public IEnumerable<VmAction> Actions => VmActions.In(Vm.State).Where(a => !a.Destroys);

    protected abstract ViewKind Kind { get; }

    protected string Email => Actor.Of(HttpContext).Email;

    public virtual async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var owned = new { id = Id, email = Email };
        // Read first, so that a change while the rest is read is noticed.
        Seen = VmEvents.Seen(await db.FindAsync<string>(VmPageSql.Version, owned, cancel));
        if (await db.FindAsync<VmRow>(VmSql.Find, owned, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        var problem = OpenConsole.Decide(vm, Kind);
        var isWaitedFor = OpenConsole.IsComing(vm.State) && problem is { Kind: ProblemKind.Unavailable };
        (Vm, Refusal) = (vm, isWaitedFor ? null : problem?.Message);
        return Page();
    }

    /// <summary>A token for the script.</summary>
    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var asked = await OpenConsole.AskAsync(db, Email, sessions.HashOf(HttpContext)!, Id, Kind, time, cancel);
        return asked.Refused(out var problem, out var token)
            ? new JsonResult(new { problem = problem.Message }) { StatusCode = problem.HttpStatus }
            : new JsonResult(new { token });
    }

    public Task<IActionResult> OnPostStartAsync(CancellationToken cancel) => ChangeAsync(VmActions.Start, cancel);

    public Task<IActionResult> OnPostRestartAsync(CancellationToken cancel) => ChangeAsync(VmActions.Restart, cancel);

    public Task<IActionResult> OnPostStopAsync(CancellationToken cancel) => ChangeAsync(VmActions.Stop, cancel);

    async Task<IActionResult> ChangeAsync(VmAction action, CancellationToken cancel)
    {
        var changed = await ChangeVm.RunAsync(action, db, Email, Id, settings, time, cancel);
        if (changed.Problem is { } problem) return Problems.Page(problem);
        this.Done($"{action.Button} requested.");
        return RedirectToPage(new { Id });
    }
}
