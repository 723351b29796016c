using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Pools;

/// <summary>The pools of one host, and what an operator may do with them.</summary>
[Authorize(Policies.Operator)]
public sealed class ShowPoolPage(Db db, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    /// <summary>An address, or two with a hyphen.</summary>
    [BindProperty]
    public string? Range { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    [BindProperty]
    public string? Hours { get; set; }

    public IReadOnlyList<PoolRow> Pools { get; private set; } = [];

    public IReadOnlyList<ReservedAddressRow> Reserved { get; private set; } = [];

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        Pools = await db.ListAsync<PoolRow>(
            PoolSql.OfHost, new { host = Id, now = time.GetUtcNow().UtcDateTime }, cancel);
        if (Pools.Count == 0)
            return Problems.Page(new Problem(ProblemKind.NotFound, $"There is no pool of a host {Id}."));
        Reserved = await db.ListAsync<ReservedAddressRow>(AddressSql.Reserved, new { host = Id }, cancel);
        Hours ??= $"{Pools[0].CoolDownSeconds / 3600}";
        return Page();
    }

    public async Task<IActionResult> OnPostReserveAsync(CancellationToken cancel) => await AfterAsync(
        await ReserveAddresses.RunAsync(db, Email, Id, Range, Reason, time, cancel),
        n => $"{Show.Count(n, "address is", "addresses are")} reserved.", cancel);

    public async Task<IActionResult> OnPostReleaseAsync(CancellationToken cancel) => await AfterAsync(
        await ReserveAddresses.ReleaseAsync(db, Email, Id, Range, time, cancel),
        n => $"{Show.Count(n, "address is", "addresses are")} released.", cancel);

    public async Task<IActionResult> OnPostCoolDownAsync(CancellationToken cancel) => await AfterAsync(
        await SetCoolDown.RunAsync(db, Email, Id, Hours, cancel),
        n => n == 0 ? "Addresses are used again at once." : $"Addresses cool down for {n} h.", cancel);

    async Task<IActionResult> AfterAsync(Outcome<int> outcome, Func<int, string> done, CancellationToken cancel)
    {
        if (outcome.Refused(out var problem, out var count))
        {
            if (problem.Field is null) return Problems.Page(problem);
            var page = await OnGetAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done(done(count));
        return RedirectToPage("ShowPool", new { id = Id });
    }
}
