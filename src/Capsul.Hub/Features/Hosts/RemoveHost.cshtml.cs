using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Hosts;

/// <summary>Asks for confirmation, and for the reason if VMs are lost.</summary>
[Authorize(Policies.Operator)]
public sealed class RemoveHostPage(Db db, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    [BindProperty]
    public string? Reason { get; set; }

    /// <summary>The machine will never come back: its VMs are lost.</summary>
    [BindProperty]
    public bool Force { get; set; }

    public ShownHostRow Host { get; private set; } = null!;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<ShownHostRow>(HostPageSql.Find, new { id = Id }, cancel) is not { } host)
            return Problems.Page(DrainHost.NotFound(Id));
        Host = host;
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var removed = await RemoveHost.RunAsync(db, Actor.Of(HttpContext).Email, Id, Force, Reason, time, cancel);
        if (removed.Problem is { } problem)
            return await OnGetAsync(cancel) is PageResult ? this.Refuse(problem) : Problems.Page(problem);
        this.Done(removed.Value == 0
            ? $"{Id} is removed." : $"{Id} is removed, and {Show.Count(removed.Value, "capsul", "capsuls")} lost.");
        return RedirectToPage("ListHosts");
    }
}
