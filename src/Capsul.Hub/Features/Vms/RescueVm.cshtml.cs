using Capsul.Foundation;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>Says what a rescue is, before the VM is shut down for it.</summary>
[Authorize(Policies.SignedIn)]
public sealed class RescueVmPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    public VmRow Vm { get; private set; } = null!;

    /// <summary>Why it is not possible here, or null.</summary>
    public string? Refusal { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var vm = await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel);
        if (RescueVm.Decide(vm, isBusy: false) is { } problem) return Problems.Page(problem);
        Vm = vm!;
        var host = await db.FindAsync<RescueHostRow>(
            RescueSql.Host, new { host = vm!.Host, image = RescueVm.Image }, cancel);
        var keys = await db.ListAsync<SshKeyRow>(SshKeySql.List, new { email = Email }, cancel);
        Refusal = RescueVm.Decide(new RescueVm.Facts(vm, IsBusy: false, host, keys.Count))?.Message;
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await RescueVm.RunAsync(db, Email, Email, Id, settings, time, cancel);
        if (outcome.Problem is { } problem) return Problems.Page(problem);
        this.Done("Rescue requested.");
        return RedirectToPage("ShowVm", new { Id });
    }
}
