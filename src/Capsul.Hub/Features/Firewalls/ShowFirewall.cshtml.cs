using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Firewalls;

/// <summary>The firewall of a VM, for its owner.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowFirewallPage(Db db) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    [BindProperty]
    public string? Preset { get; set; }

    [BindProperty]
    public string? Policy { get; set; }

    [BindProperty]
    public string? Protocol { get; set; }

    [BindProperty]
    public string? Ports { get; set; }

    [BindProperty]
    public string? Source { get; set; }

    public VmRow Vm { get; private set; } = null!;

    public FirewallState Firewall { get; private set; } = FirewallState.Default;

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        Vm = vm;
        if (await db.FindAsync<FirewallRow>(FirewallSql.Find, new { id = Id }, cancel) is { } row)
            Firewall = FirewallState.Of(row);
        return Page();
    }

    public Task<IActionResult> OnPostPresetAsync(CancellationToken cancel) =>
        ChangeAsync(new FirewallChange.Preset(Preset), "The firewall is changed.", cancel);

    public Task<IActionResult> OnPostPolicyAsync(CancellationToken cancel) =>
        ChangeAsync(new FirewallChange.Policy(Policy), "The firewall is changed.", cancel);

    public Task<IActionResult> OnPostAsync(CancellationToken cancel) =>
        ChangeAsync(new FirewallChange.Allow(Protocol, Ports, Source), "The rule is added.", cancel);

    public Task<IActionResult> OnPostRemoveAsync(CancellationToken cancel) =>
        ChangeAsync(new FirewallChange.Remove(Protocol, Ports, Source), "The rule is removed.", cancel);

    async Task<IActionResult> ChangeAsync(FirewallChange change, string done, CancellationToken cancel)
    {
        var outcome = await ChangeFirewall.RunAsync(db, Email, Email, Id, change, cancel);
        if (outcome.Problem is { } problem)
        {
            if (problem.Kind == ProblemKind.NotFound) return Problems.Page(problem);
            var page = await OnGetAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done(done);
        return RedirectToPage("ShowFirewall", new { id = Id });
    }
}
