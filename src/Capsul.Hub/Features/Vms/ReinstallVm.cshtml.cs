using Capsul.Foundation;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>Asks what a VM is to be reinstalled with, and for its name, because its data will be lost.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ReinstallVmPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    [BindProperty]
    public string? Image { get; set; }

    [BindProperty]
    public List<long> KeyIds { get; set; } = [];

    [BindProperty]
    public string? Name { get; set; }

    public VmRow Vm { get; private set; } = null!;

    public IReadOnlyList<ImageRow> Images { get; private set; } = [];

    public IReadOnlyList<SshKeyRow> Keys { get; private set; } = [];

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        KeyIds = [.. await db.ListAsync<long>(VmSql.KeyIds, new { id = Id, email = Email }, cancel)];
        var page = await LoadAsync(cancel);
        if (page is PageResult) Image = (Images.FirstOrDefault(i => i.Id == Vm.Image) ?? Images.FirstOrDefault())?.Id;
        return page;
    }

    async Task<IActionResult> LoadAsync(CancellationToken cancel)
    {
        var vm = await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel);
        if (ReinstallVm.Decide(vm, isBusy: false) is { } problem) return Problems.Page(problem);
        Vm = vm!;
        Images = await db.ListAsync<ImageRow>(
            ReinstallSql.Images, new { vm!.Host, vm.Image, vm.DiskGb, vm.MemoryMb }, cancel);
        Keys = await db.ListAsync<SshKeyRow>(SshKeySql.List, new { email = Email }, cancel);
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await ReinstallVm.RunAsync(db, Email, Email, new ReinstallVm.Input(Id, Image, KeyIds, Name),
            settings, time, cancel);
        if (outcome.Problem is { } problem)
        {
            if (problem.Kind == ProblemKind.NotFound) return Problems.Page(problem);
            var page = await LoadAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done("Reinstall started.");
        return RedirectToPage("ShowVm", new { Id });
    }
}
