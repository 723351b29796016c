using Capsul.Hub.Web;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Accounts;

[Authorize(Policies.Public)]
public sealed class SignOutPage(Sessions sessions) : PageModel
{
    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        await sessions.EndAsync(HttpContext, cancel);
        this.Done("You are signed out.");
        return RedirectToPage("/Home/Home");
    }
}
