using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;

namespace Capsul.Hub.Features.Consoles;

/// <summary>The screen of a VM, in the browser.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowScreenPage(Db db, Sessions sessions, Settings settings, TimeProvider time)
    : ViewPage(db, sessions, settings, time)
{
    protected override ViewKind Kind => ViewKind.Screen;

    public override Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        Headers.AllowMadePictures(HttpContext);
        return base.OnGetAsync(cancel);
    }
}
