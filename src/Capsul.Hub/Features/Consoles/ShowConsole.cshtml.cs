using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Consoles;

/// <summary>The serial console of a VM, in the browser.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowConsolePage(
    Db db, Sessions sessions, IEnumerable<IHostConsoles> hosts, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    public VmRow Vm { get; private set; } = null!;

    /// <summary>Why it cannot be opened now; null if it can.</summary>
    public string? Refusal { get; private set; }

    /// <summary>A password that was just set; shown once.</summary>
    public SetPassword.Login? Login { get; private set; }

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var email = Actor.Of(HttpContext).Email;
        if (await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email }, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        (Vm, Refusal) = (vm, OpenConsole.Decide(vm)?.Message);
        return Page();
    }

    public async Task<IActionResult> OnPostPasswordAsync(CancellationToken cancel)
    {
        var set = await SetPassword.RunAsync(
            db, hosts.FirstOrDefault(), Actor.Of(HttpContext).Email, Id, cancel);
        if (set.Problem is { Kind: ProblemKind.NotFound } unknown) return Problems.Page(unknown);
        var page = await OnGetAsync(cancel);
        if (page is not PageResult) return page;
        if (set.Refused(out var problem, out var login)) return this.Refuse(problem);
        Login = login;
        return page;
    }

    /// <summary>A token for the script.</summary>
    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var asked = await OpenConsole.AskAsync(
            db, Actor.Of(HttpContext).Email, sessions.HashOf(HttpContext)!, Id, time, cancel);
        return asked.Refused(out var problem, out var token)
            ? new JsonResult(new { problem = problem.Message }) { StatusCode = problem.HttpStatus }
            : new JsonResult(new { token });
    }
}
