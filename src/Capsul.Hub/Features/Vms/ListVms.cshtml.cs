using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>The VMs of an account; for one that has none, what comes first.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ListVmsPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    public IReadOnlyList<VmRow> Vms { get; private set; } = [];

    /// <summary>Which version of them this page shows.</summary>
    public string Seen { get; private set; } = "";

    public BalanceRow Balance { get; private set; } = null!;

    public bool HasKey { get; private set; }

    public bool PlayMoney => settings.Development;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var email = Actor.Of(HttpContext).Email;
        var now = time.GetUtcNow().UtcDateTime;
        Seen = VmEvents.Seen(await db.FindAsync<string>(VmPageSql.ListVersion, new { email }, cancel));
        Vms = await db.ListAsync<VmRow>(VmSql.List, new { email, now }, cancel);
        Balance = (await db.FindAsync<BalanceRow>(BillingSql.Balance, new { email, now }, cancel))!;
        HasKey = await db.FindAsync<long>(SshKeySql.Count, new { email }, cancel) > 0;
    }
}
