using Capsul.Foundation;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>Which SSH keys may log in to a VM that runs.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ChangeKeysPage(Db db, IEnumerable<IHostAgents> agents, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    [BindProperty]
    public List<long> KeyIds { get; set; } = [];

    public VmRow Vm { get; private set; } = null!;

    /// <summary>The newest change at a start, or null.</summary>
    public KeyChangeRow? Change { get; private set; }

    public IReadOnlyList<SshKeyRow> Keys { get; private set; } = [];

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        KeyIds = [.. await db.ListAsync<long>(VmSql.KeyIds, new { id = Id, email = Email }, cancel)];
        return await LoadAsync(cancel);
    }

    async Task<IActionResult> LoadAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        Vm = vm;
        Change = await db.FindAsync<KeyChangeRow>(KeyChangeSql.Newest, new { vm = vm.Id }, cancel);
        Keys = await db.ListAsync<SshKeyRow>(SshKeySql.List, new { email = Email }, cancel);
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await ChangeKeys.RunAsync(db, agents.FirstOrDefault(), Email, Id, KeyIds, cancel);
        return await AfterAsync(outcome, "may log in now, and no other.", cancel);
    }

    public async Task<IActionResult> OnPostLaterAsync(CancellationToken cancel)
    {
        var outcome = await ChangeKeysLater.RunAsync(db, Email, Email, Id, KeyIds, time, cancel);
        return await AfterAsync(outcome, "may log in after the next start, and no other.", cancel);
    }

    async Task<IActionResult> AfterAsync(Outcome<int> outcome, string done, CancellationToken cancel)
    {
        if (outcome.Refused(out var problem, out var count))
        {
            if (problem.Kind == ProblemKind.NotFound) return Problems.Page(problem);
            var page = await LoadAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done($"{Show.Count(count, "key", "keys")} {done}");
        return RedirectToPage("ShowVm", new { id = Id });
    }
}
