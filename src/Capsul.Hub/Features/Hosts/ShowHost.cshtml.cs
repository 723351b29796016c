using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Hosts;

/// <summary>One host: what it reports, its VMs, and what an operator may do with it.</summary>
[Authorize(Policies.Operator)]
public sealed class ShowHostPage(Db db, Settings settings) : PageModel
{
    const int PageRows = 50;

    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    /// <summary>The last VM of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public string? After { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    /// <summary>Where its VMs go when it is evacuated; empty: anywhere.</summary>
    [BindProperty]
    public string? To { get; set; }

    [BindProperty]
    public string? NewName { get; set; }

    [BindProperty]
    public string? Slots { get; set; }

    public BuildSlotsRow Builds { get; private set; } = null!;

    public ShownHostRow Host { get; private set; } = null!;

    public IReadOnlyList<HostedVmRow> Vms { get; private set; } = [];

    public IReadOnlyList<UnknownVmRow> Unknown { get; private set; } = [];

    public IReadOnlyList<ForeignMachineRow> Foreign { get; private set; } = [];

    public bool HasMore { get; private set; }

    /// <summary>VMs that could not be moved away.</summary>
    public IReadOnlyList<MoveRefusalRow> Refusals { get; private set; } = [];

    /// <summary>Moves away from it that are going on.</summary>
    public int Moving { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<ShownHostRow>(HostPageSql.Find, new { id = Id }, cancel) is not { } host)
            return Problems.Page(DrainHost.NotFound(Id));
        Host = host;
        var rows = await db.ListAsync<HostedVmRow>(HostPageSql.Vms,
            new { host = Id, after = After ?? "", limit = PageRows + 1 }, cancel);
        (Vms, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
        if (host.Evacuating)
        {
            Refusals = await db.ListAsync<MoveRefusalRow>(MoveRefusalSql.OfHost, new { host = Id }, cancel);
            Moving = await db.AskAsync<int>(MoveRefusalSql.CountFrom, new { host = Id }, cancel);
        }
        Builds = await db.AskAsync<BuildSlotsRow>(
            BuildQueueSql.OfHost, new { host = Id, buildSlots = settings.BuildSlots }, cancel);
        Slots ??= Builds.IsSet ? $"{Builds.Slots}" : SetBuildSlots.Auto;
        Foreign = await db.ListAsync<ForeignMachineRow>(ForeignMachineSql.OfHost, new { host = Id }, cancel);
        Unknown = await db.ListAsync<UnknownVmRow>(UnknownVmSql.OfHost, new { host = Id }, cancel);
        return Page();
    }

    public async Task<IActionResult> OnPostDrainAsync(CancellationToken cancel) => await AfterAsync(
        await DrainHost.RunAsync(db, Email, Id, Reason, cancel), $"No new capsuls are placed on {Id}.", cancel);

    public async Task<IActionResult> OnPostEvacuateAsync(CancellationToken cancel) => await AfterAsync(
        await EvacuateHost.RunAsync(db, Email, Id, To, Reason, cancel), $"{Id} is being evacuated.", cancel);

    public async Task<IActionResult> OnPostUndrainAsync(CancellationToken cancel) => await AfterAsync(
        await UndrainHost.RunAsync(db, Email, Id, cancel), $"{Id} accepts new capsuls again.", cancel);

    public async Task<IActionResult> OnPostRenameAsync(CancellationToken cancel) => await AfterAsync(
        await RenameHost.RunAsync(db, Email, Id, NewName, cancel), $"{Id} has a new name.", cancel);

    public async Task<IActionResult> OnPostSlotsAsync(CancellationToken cancel) => await AfterAsync(
        await SetBuildSlots.RunAsync(db, Email, Id, Slots, cancel), $"{Id} has {Slots?.Trim()} build slots.", cancel);

    async Task<IActionResult> AfterAsync(Outcome<string> outcome, string done, CancellationToken cancel)
    {
        if (outcome.Refused(out var problem, out var name))
        {
            if (problem.Field is null) return Problems.Page(problem);
            var page = await OnGetAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done(done);
        return RedirectToPage("ShowHost", new { id = name });
    }
}
