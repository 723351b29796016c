using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.FriendLinks;

/// <summary>A member's links by which others pay, and making one, which is shown once.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ListFriendLinksPage(Db db, PaymentProviders providers, Site site, TimeProvider time) : PageModel
{
    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public long Id { get; set; }

    public IReadOnlyList<FriendLinkRow> Links { get; private set; } = [];

    /// <summary>That was made by this request: only its answer has it.</summary>
    public string? Made { get; private set; }

    public bool CanPay => providers.All.Count > 0;

    string Email => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel) =>
        Links = await db.ListAsync<FriendLinkRow>(FriendLinkSql.ListOf, new { email = Email }, cancel);

    /// <summary>No redirect: the link is nowhere but in this answer.</summary>
    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var outcome = await MakeFriendLink.RunAsync(db, site.Base, Email, Email, Name, time, cancel);
        await OnGetAsync(cancel);
        if (outcome.Refused(out var problem, out var link)) return this.Refuse(problem);
        Made = link;
        return Page();
    }

    public async Task<IActionResult> OnPostRevokeAsync(CancellationToken cancel)
    {
        var outcome = await MakeFriendLink.RevokeAsync(db, Email, Email, Id, time, cancel);
        if (outcome.Problem is { } problem) return Problems.Page(problem);
        this.Done("The link leads nowhere from now on.");
        return RedirectToPage("ListFriendLinks");
    }
}
