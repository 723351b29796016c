using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.ReverseDns;

/// <summary>The names of the addresses of a VM.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowReverseNamesPage(Db db, Settings settings) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    /// <summary>The one that gets a name.</summary>
    [BindProperty]
    public string? Address { get; set; }

    /// <summary>Empty: it loses its name.</summary>
    [BindProperty]
    public string? Name { get; set; }

    public VmRow Vm { get; private set; } = null!;

    /// <summary>Of its public addresses.</summary>
    public IReadOnlyList<ReverseNameRow> Names { get; private set; } = [];

    public bool Offered => settings.DnsServer is not null;

    string Email => Actor.Of(HttpContext).Email;

    /// <summary>What is in the field: what was typed and refused, or what there is.</summary>
    public string Typed(ReverseNameRow row) => row.Address == Address && !ModelState.IsValid ? Name ?? "" : row.Name;

    public bool IsRefused(ReverseNameRow row) => row.Address == Address && !ModelState.IsValid;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        Vm = vm;
        Names = [.. (await db.ListAsync<ReverseNameRow>(ReverseNameSql.OfVm, new { id = Id }, cancel))
            .Where(n => PublicAddress.Is(n.Address))];
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var set = await SetReverseName.RunAsync(db, Email, Email, Id, Address, Name, settings, cancel);
        if (set.Problem is { Kind: ProblemKind.NotFound } unknown) return Problems.Page(unknown);
        if (set.Problem is { } problem)
        {
            var page = await OnGetAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done(set.Value!.Length > 0
            ? $"{Address} will be called {set.Value} within a minute." : $"The name of {Address} is being removed.");
        return RedirectToPage("ShowReverseNames", new { id = Id });
    }
}
