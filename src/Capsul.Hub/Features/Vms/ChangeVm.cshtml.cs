using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>The buttons start, stop, restart and cancel. Each answers with the page of the VM, where the operation is seen.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ChangeVmPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    [BindProperty(SupportsGet = true)]
    public string Verb { get; set; } = "";

    public IActionResult OnGet() => Redirect($"/vms/{Id}");

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var email = Actor.Of(HttpContext).Email;
        var outcome = await (Verb switch
        {
            "start" => StartVm.RunAsync(db, email, Id, time, cancel),
            "stop" => StopVm.RunAsync(db, email, Id, settings, time, cancel),
            "restart" => RestartVm.RunAsync(db, email, Id, settings, time, cancel),
            _ => Vms.CancelAsync(db, email, Id, time, cancel),
        });
        return outcome.Problem is { } problem ? Problems.Page(problem) : Redirect($"/vms/{Id}");
    }
}
