using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>Asks for confirmation, because deletion cannot be undone.</summary>
[Authorize(Policies.SignedIn)]
public sealed class DeleteVmPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    public VmRow Vm { get; private set; } = null!;

    public decimal Cost { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var vm = await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel);
        if (VmActions.Delete.Decide(vm) is { } problem)
            return Problems.Page(problem);
        Vm = vm!;
        Cost = await db.FindAsync<decimal>(
            BillingSql.CostOfVm, new { vm = Id, now = time.GetUtcNow().UtcDateTime }, cancel);
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await ChangeVm.RunAsync(VmActions.Delete, db, Email, Id, settings, time, cancel);
        if (outcome.Problem is { } problem) return Problems.Page(problem);
        this.Done("Deletion started. You are no longer charged.");
        return RedirectToPage("ShowVm", new { Id });
    }
}
