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
    public IReadOnlyList<SshKeySql.Row> Keys { get; private set; } = [];

    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Key { get; set; }

    public string? Refusal { get; private set; }

    public Task OnGetAsync(CancellationToken cancel) => LoadAsync(cancel);

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var email = Actor.Of(HttpContext).Email;
        var outcome = await db.DecideAsync<AddSshKey.Plan>(async transaction =>
        {
            await transaction.FindAsync<string>(SshKeySql.LockAccount, new { email }, cancel);
            var facts = new AddSshKey.Facts(await transaction.FindAsync<long>(SshKeySql.Count, new { email }, cancel));
            if (AddSshKey.Decide(facts, new AddSshKey.Input(Name, Key)).Refused(out var problem, out var plan))
                return problem;
            await transaction.ExecuteAsync(SshKeySql.Add,
                new { email, name = plan.Name, type = plan.Key.Type, key = plan.Key.Key, fingerprint = plan.Key.Fingerprint, now = time.GetUtcNow().UtcDateTime },
                cancel);
            return plan;
        }, cancel);
        if (outcome.Problem is null)
            return Redirect("/keys");
        Refusal = outcome.Problem.Message;
        // A private key must not come back in the page.
        if (Key?.Contains("PRIVATE", StringComparison.OrdinalIgnoreCase) == true)
            Key = null;
        Response.StatusCode = outcome.Problem.HttpStatus;
        await LoadAsync(cancel);
        return Page();
    }

    async Task LoadAsync(CancellationToken cancel) =>
        Keys = await db.ListAsync<SshKeySql.Row>(SshKeySql.List, new { email = Actor.Of(HttpContext).Email }, cancel);
}
