using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Sites;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Ports;

/// <summary>The ports of a VM that are open to the outside, and how to reach them.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowPortsPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    /// <summary>Of the VM.</summary>
    [BindProperty]
    public string? Port { get; set; }

    /// <summary>tcp or udp.</summary>
    [BindProperty]
    public string? Protocol { get; set; }

    /// <summary>host or hub.</summary>
    [BindProperty]
    public string? Via { get; set; }

    /// <summary>A name under the domain of VMs.</summary>
    [BindProperty]
    public string? Name { get; set; }

    /// <summary>The port that the name leads to.</summary>
    [BindProperty]
    public string? SitePort { get; set; }

    public IReadOnlyList<SiteRow> Sites { get; private set; } = [];

    public string? Domain => settings.VmDomain;

    public VmRow Vm { get; private set; } = null!;

    public IReadOnlyList<PortRow> Ports { get; private set; } = [];

    public FirewallState Firewall { get; private set; } = FirewallState.Default;

    /// <summary>Whether the host, and the Hub, have ports for that.</summary>
    public bool HostHas { get; private set; }

    /// <summary>Whether those of the host can lead to UDP ports.</summary>
    public bool HasUdp { get; private set; }

    public bool HubHas => settings.HubPorts is not null;

    /// <summary>Port and protocol in one.</summary>
    string? Written => Protocol is null or PortOfVm.Tcp || Port?.Contains('/', StringComparison.Ordinal) == true
        ? Port : $"{Port?.Trim()}/{Protocol}";

    string Email => Actor.Of(HttpContext).Email;

    /// <summary>Name and port at which people reach it.</summary>
    public string Address(PortRow port) => IPAddress.TryParse(NameOf(port), out var ip)
        && ip.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6
            ? $"[{ip}]:{port.Port}" : $"{NameOf(port)}:{port.Port}";

    /// <summary>The public name of the Hub or the host.</summary>
    public string NameOf(PortRow port) => port.Via == OpenPort.ViaHub ? settings.HubPortsHost
        : Vm.SshHost.Length > 0 ? Vm.SshHost : Vm.Host;

    /// <summary>Whether the firewall lets nobody in there.</summary>
    public bool IsBlocked(PortRow port) => !Firewall.IsOpen && !Firewall.Rules.Any(
        r => r.Protocol == port.Protocol && port.VmPort >= r.First && port.VmPort <= r.Last);

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<VmRow>(VmSql.Find, new { id = Id, email = Email }, cancel) is not { Deleted: null } vm)
            return Problems.Page(VmAction.NotFound);
        Vm = vm;
        Ports = await db.ListAsync<PortRow>(PortSql.OfVm, new { id = Id }, cancel);
        Sites = await db.ListAsync<SiteRow>(SiteSql.OfVm, new { id = Id }, cancel);
        var facts = await db.FindAsync<PortFactsRow>(PortSql.Facts, new { id = Id }, cancel);
        (HostHas, HasUdp) = (facts?.First is not null, facts is { First: not null, Udp: true });
        if (await db.FindAsync<FirewallRow>(FirewallSql.Find, new { id = Id }, cancel) is { } row)
            Firewall = FirewallState.Of(row);
        return Page();
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var opened = await OpenPort.RunAsync(db, Email, Email, Id, Written, Via, settings, time, cancel);
        return await AfterAsync(opened.Problem, "The port is open.", cancel);
    }

    public async Task<IActionResult> OnPostCloseAsync(CancellationToken cancel)
    {
        var closed = await ClosePort.RunAsync(db, Email, Email, Id, Written, Via, cancel);
        return await AfterAsync(closed.Problem, "The port is closed.", cancel);
    }

    public async Task<IActionResult> OnPostNameAsync(CancellationToken cancel)
    {
        var added = await AddSite.RunAsync(db, Email, Email, Id, Name, SitePort, settings, time, cancel);
        return await AfterAsync(added.Problem, "The name is yours.", cancel);
    }

    public async Task<IActionResult> OnPostRemoveNameAsync(CancellationToken cancel)
    {
        var removed = await RemoveSite.RunAsync(db, Email, Email, Id, Name, cancel);
        return await AfterAsync(removed.Problem, "The name is given back.", cancel);
    }

    async Task<IActionResult> AfterAsync(Problem? problem, string done, CancellationToken cancel)
    {
        if (problem is not null)
        {
            if (problem.Kind == ProblemKind.NotFound) return Problems.Page(problem);
            var page = await OnGetAsync(cancel);
            return page is PageResult ? this.Refuse(problem) : page;
        }
        this.Done(done);
        return RedirectToPage("ShowPorts", new { id = Id });
    }
}
