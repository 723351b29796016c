using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.ReverseDns;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.Traffic;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>One VM: how to connect to it, its current operation, its cost, and what its owner may do now.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowVmPage(
    Db db, IEnumerable<OperationKind> kinds, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    public VmRow Vm { get; private set; } = null!;

    /// <summary>Version of the VM that this page shows.</summary>
    public string Seen { get; private set; } = "";

    public string ImageTitle { get; private set; } = "";

    public bool IsAdopted { get; private set; }

    public decimal Cost { get; private set; }

    public IReadOnlyList<VmHostKeyRow> HostKeys { get; private set; } = [];

    public OperationRow? Operation { get; private set; }

    public OperationKind? Kind { get; private set; }

    public IReadOnlyList<OperationEventRow> Events { get; private set; } = [];

    /// <summary>The move that is going on, or null.</summary>
    public MoveRow? Move { get; private set; }

    /// <summary>The rescue that it is in, or null.</summary>
    public RescueRow? Rescue { get; private set; }

    /// <summary>What it uses; At is null if nothing was reported.</summary>
    public UsedNowRow? Used { get; private set; }

    /// <summary>The newest change of keys at a start, or null.</summary>
    public KeyChangeRow? KeyChange { get; private set; }

    public FirewallState Firewall { get; private set; } = FirewallState.Default;

    /// <summary>Prices that are announced for it, soonest first.</summary>
    public IReadOnlyList<PriceRow> ComingPrices { get; private set; } = [];

    /// <summary>While it waits for a build slot.</summary>
    public QueuePlaceRow? Place { get; private set; }

    /// <summary>Of its public addresses; none where addresses cannot be given names.</summary>
    public IReadOnlyList<ReverseNameRow> Names { get; private set; } = [];

    /// <summary>Its IPv4 addresses besides the first.</summary>
    public IReadOnlyList<FurtherAddressRow> Further { get; private set; } = [];

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    public bool Busy => Operation is { Finished: null };

    public bool Cancellable => Busy && Kind?.OwnerMayCancel == true && Operation is { Status: "running", Asked: null };

    /// <summary>Titles of the remaining steps.</summary>
    public IEnumerable<string> Coming => Busy && Operation!.Status == "running" && Kind is not null
        ? Kind.Steps.SkipWhile(s => s.Name != Operation.Step).Skip(1).Select(s => s.Title) : [];

    /// <summary>Title of the current step, or null.</summary>
    public string? Present => !Busy ? null
        : Operation!.Status == "undoing" ? "Rolling back"
        : Operation.Asked == "cancel" ? "Cancelling"
        : Place is { } place ? $"Waiting for a build slot: number {place.Place} of {place.Of} in the queue of {Vm.Host}"
        : Kind?.Steps.FirstOrDefault(s => s.Name == Operation.Step).Title ?? "In progress";

    /// <summary>Title of the whole operation.</summary>
    public string Doing => Operation switch
    {
        { Asked: "cancel" } => "Cancelling",
        { Status: "undoing" } => "Rolling back",
        { Kind: MoveVm.OperationName } => "Being moved to another host",
        { Kind: RescueVm.OperationName } => "Starting the rescue system",
        { Kind: EndRescue.OperationName } => "Ending the rescue",
        _ => $"{char.ToUpperInvariant(Vm.State[0])}{Vm.State[1..]} your capsul",
    };

    public string SshCommand =>
        Vm.SshPort == 22 ? $"ssh {Vm.LoginUser}@{Vm.SshHost}" : $"ssh -p {Vm.SshPort} {Vm.LoginUser}@{Vm.SshHost}";

    /// <summary>To an address of its own that the internet reaches; null: it has none.</summary>
    public string? DirectCommand => ((string?[])[Vm.Address, Vm.Address6]).FirstOrDefault(PublicAddress.Is) is { } own
        ? $"ssh {Vm.LoginUser}@{own}" : null;

    public string KnownHost => Vm.SshPort == 22 ? Vm.SshHost : $"[{Vm.SshHost}]:{Vm.SshPort}";

    /// <summary>What its owner may do now.</summary>
    public IEnumerable<VmAction> Actions => Busy || Vm.Deleted is not null ? [] : VmActions.In(Vm.State);

    public bool CanReinstall => !Busy && ReinstallVm.Decide(Vm, Busy) is null;

    public bool CanRescue => !Busy && RescueVm.Decide(Vm, Busy) is null;

    /// <summary>SSH keeps its host key under a name of its own, so it is not mixed up with the VM's.</summary>
    public string RescueCommand => $"ssh -p {Vm.SshPort} {Rescue!.LoginUser}@{Vm.SshHost} "
        + $"-o HostKeyAlias={Vm.Id}-rescue-{Rescue.Number}";

    /// <summary>Host keys of the rescue system.</summary>
    public IReadOnlyList<VmHostKeyRow> RescueKeys =>
        [.. Rescue!.HostKeys.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(l => l.Split(' ')).Select(w => new VmHostKeyRow(w[0], w[1], w[2]))];

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        var owned = new { id = Id, email = Email };
        // Read first, so that a change while the rest is read is noticed.
        Seen = VmEvents.Seen(await db.FindAsync<string>(VmPageSql.Version, owned, cancel));
        if (await db.FindAsync<VmRow>(VmSql.Find, owned, cancel) is not { } vm)
            return Problems.Page(VmAction.NotFound);
        Vm = vm;
        IsAdopted = vm.Image == Wire.Protocol.AdoptedImage;
        ImageTitle = await db.FindAsync<string>(VmPageSql.ImageTitle, new { id = vm.Image }, cancel) ?? vm.Image;
        Cost = await db.FindAsync<decimal>(BillingSql.CostOfVm, new { vm = vm.Id, now = Now }, cancel);
        if (vm.Deleted is null)
            ComingPrices = await db.ListAsync<PriceRow>(PriceSql.ComingForVm, new { id = vm.Id, now = Now }, cancel);
        HostKeys = await db.ListAsync<VmHostKeyRow>(VmSql.HostKeys, new { id = vm.Id }, cancel);
        Operation = await db.FindAsync<OperationRow>(OperationSql.Newest, new { vm = vm.Id }, cancel);
        if (await db.FindAsync<FirewallRow>(FirewallSql.Find, new { id = vm.Id }, cancel) is { } firewall)
            Firewall = FirewallState.Of(firewall);
        Used = await db.FindAsync<UsedNowRow>(TrafficSql.Now, new { id = vm.Id, now = Now }, cancel);
        KeyChange = await db.FindAsync<KeyChangeRow>(KeyChangeSql.Newest, new { vm = vm.Id }, cancel);
        if (vm.ExtrasPerMonth > 0 || PublicAddress.Is(vm.Address))
            Further = await db.ListAsync<FurtherAddressRow>(AddressSql.FurtherOfVm, new { id = vm.Id }, cancel);
        if (settings.DnsServer is not null && vm.Deleted is null)
            Names = [.. (await db.ListAsync<ReverseNameRow>(ReverseNameSql.OfVm, new { id = vm.Id }, cancel))
                .Where(n => PublicAddress.Is(n.Address))];
        if (vm.InRescue) Rescue = await db.FindAsync<RescueRow>(RescueSql.Find, new { vm = vm.Id }, cancel);
        if (vm.State == "moving") Move = await db.FindAsync<MoveRow>(MoveSql.OpenOf, new { vm = vm.Id }, cancel);
        if (vm.Queued is not null)
            Place = await db.FindAsync<QueuePlaceRow>(BuildQueueSql.Place, new { vm.Host, vm.Id }, cancel);
        if (Operation is not null)
        {
            Kind = kinds.FirstOrDefault(k => k.Name == Operation.Kind);
            Events = await db.ListAsync<OperationEventRow>(OperationSql.Events, new { id = Operation.Id }, cancel);
        }
        return Page();
    }

    public Task<IActionResult> OnPostStartAsync(CancellationToken cancel) => ChangeAsync(VmActions.Start, cancel);

    public Task<IActionResult> OnPostRestartAsync(CancellationToken cancel) => ChangeAsync(VmActions.Restart, cancel);

    public Task<IActionResult> OnPostStopAsync(CancellationToken cancel) => ChangeAsync(VmActions.Stop, cancel);

    public async Task<IActionResult> OnPostEndRescueAsync(CancellationToken cancel) =>
        After(await EndRescue.RunAsync(db, Email, Email, Id, settings, time, cancel), "End of the rescue");

    public async Task<IActionResult> OnPostCancelAsync(CancellationToken cancel) =>
        After(await CancelVm.RunAsync(db, kinds, Email, Id, time, cancel), "Cancel");

    async Task<IActionResult> ChangeAsync(VmAction action, CancellationToken cancel) =>
        After(await ChangeVm.RunAsync(action, db, Email, Id, settings, time, cancel), action.Button);

    IActionResult After(Outcome<string> outcome, string asked)
    {
        if (outcome.Problem is { } problem) return Problems.Page(problem);
        this.Done($"{asked} requested.");
        return RedirectToPage("ShowVm", new { Id });
    }
}
