using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Consoles;

/// <summary>The serial console of a VM, in the browser.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowConsolePage(
    Db db, Sessions sessions, IEnumerable<IHostConsoles> hosts, Settings settings, TimeProvider time)
    : ViewPage(db, sessions, settings, time)
{
    readonly Db db = db;

    protected override ViewKind Kind => ViewKind.Console;

    /// <summary>A password that was just set; shown once.</summary>
    public SetPassword.Login? Login { get; private set; }

    public async Task<IActionResult> OnPostPasswordAsync(CancellationToken cancel)
    {
        var set = await SetPassword.RunAsync(db, hosts.FirstOrDefault(), Email, Id, cancel);
        if (set.Problem is { Kind: ProblemKind.NotFound } unknown) return Problems.Page(unknown);
        var page = await OnGetAsync(cancel);
        if (page is not PageResult) return page;
        if (set.Refused(out var problem, out var login)) return this.Refuse(problem);
        Login = login;
        return page;
    }
}
