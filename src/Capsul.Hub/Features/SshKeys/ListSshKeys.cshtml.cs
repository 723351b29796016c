using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.SshKeys;

/// <summary>The keys of an account, and the form that adds one.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ListSshKeysPage(Db db, TimeProvider time) : PageModel
{
    public IReadOnlyList<SshKeyRow> Keys { get; private set; } = [];

    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Key { get; set; }

    string Email => Actor.Of(HttpContext).Email;

    public Task OnGetAsync(CancellationToken cancel) => LoadAsync(cancel);

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var input = new AddSshKey.Input(Name, Key);
        var outcome = await db.DecideAsync<(long Id, AddSshKey.Plan Added)>(
            transaction => AddSshKey.InAsync(transaction, Email, input, now, cancel), cancel);
        if (!outcome.Refused(out var problem, out var key))
        {
            this.Done($"Key “{key.Added.Name}” added. New capsuls can use it; existing ones are not changed.");
            return RedirectToPage("ListSshKeys");
        }
        if (SshKey.LooksPrivate(Key)) this.Forget(nameof(Key), () => Key = null);
        await LoadAsync(cancel);
        return this.Refuse(problem, problem.Field ?? nameof(Key));
    }

    async Task LoadAsync(CancellationToken cancel) =>
        Keys = await db.ListAsync<SshKeyRow>(SshKeySql.List, new { email = Email }, cancel);
}
