using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.SshKeys;

/// <summary>Asks for confirmation, then removes a key from the account. Capsuls that have it keep it.</summary>
[Authorize(Policies.SignedIn)]
public sealed class RemoveSshKeyPage(Db db) : PageModel
{
    static readonly Problem NotThere = new(ProblemKind.NotFound, "There is no such key.");

    [BindProperty(SupportsGet = true)]
    public long Id { get; set; }

    public SshKeyRow Key { get; private set; } = null!;

    object Owned => new { email = Actor.Of(HttpContext).Email, id = Id };

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<SshKeyRow>(SshKeySql.Find, Owned, cancel) is not { } key)
            return Problems.Page(NotThere);
        Key = key;
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<string>(SshKeySql.Remove, Owned, cancel) is not { } name) return Problems.Page(NotThere);
        this.Done($"Key “{name}” removed.");
        return RedirectToPage("ListSshKeys");
    }
}
