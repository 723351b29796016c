using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Operators;

/// <summary>The operators' pages, over the real pipeline; decisions have their own tests.</summary>
public sealed class OperatorPagesTests
{
    const string Ops = "ops@example.org";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<WebHub> StartAsync()
    {
        var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "boss@example.org, Ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        return hub;
    }

    [Fact]
    public async Task Only_operators_see_the_link_and_find_the_pages()
    {
        await using var hub = await StartAsync();
        using var ops = await hub.SignInAsync(Ops, Cancel);
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ops.ReadAsync("/console", Cancel)).ShouldContain("href=\"/operator\"");
        (await ada.ReadAsync("/console", Cancel)).ShouldNotContain("href=\"/operator\"");
        (await ada.ReadAsync("/operator", Cancel)).ShouldContain("Not found");
        var page = await ops.ReadAsync("/operator", Cancel);
        page.ShouldContain("1 of 1");
        page.ShouldContain("Open alerts");
    }

    [Fact]
    public async Task A_host_is_drained_undrained_renamed_and_removed_by_its_forms()
    {
        await using var hub = await StartAsync();
        using var ops = await hub.SignInAsync(Ops, Cancel);
        (await ops.ReadAsync("/operator/hosts", Cancel)).ShouldContain("host-1");
        var refused = await ops.PostAsync("/operator/hosts/host-1", "/operator/hosts/host-1?handler=drain", Cancel,
            ("Reason", "")).ReadAsync(Cancel);
        refused.Status.ShouldBe(400);
        refused.Page.ShouldContain("<a href=\"#Reason\">");
        (await ops.PostAsync("/operator/hosts/host-1", "/operator/hosts/host-1?handler=drain", Cancel,
            ("Reason", "new disks")).ReadAsync(Cancel)).Page.ShouldContain("Drained: no new capsuls");
        (await ops.PostAsync("/operator/hosts/host-1", "/operator/hosts/host-1?handler=undrain", Cancel)
            .ReadAsync(Cancel)).Page.ShouldContain("host-1 accepts new capsuls again.");
        (await ops.PostAsync("/operator/hosts/host-1", "/operator/hosts/host-1?handler=rename", Cancel,
            ("NewName", "rack-1")).ReadAsync(Cancel)).Page.ShouldContain("host-1 has a new name.");
        (await ops.PostAsync("/operator/hosts/rack-1/remove", Cancel, ("Reason", "old")).ReadAsync(Cancel)).Page
            .ShouldContain("rack-1 has 4 capsuls.");
        await hub.Db.ExecuteAsync("UPDATE hosts SET online = FALSE", null, Cancel);
        (await ops.PostAsync("/operator/hosts/rack-1/remove", Cancel, ("Reason", "old"), ("Force", "true"))
            .ReadAsync(Cancel)).Page.ShouldContain("rack-1 is removed, and 4 capsuls lost.");
        (await ops.ReadAsync("/operator/hosts/rack-1", Cancel)).ShouldContain("There is no host rack-1.");
    }

    [Fact]
    public async Task Addresses_are_reserved_and_released_by_their_forms()
    {
        await using var hub = await StartAsync();
        using var ops = await hub.SignInAsync(Ops, Cancel);
        const string page = "/operator/pools/host-1";
        (await ops.ReadAsync("/operator/pools", Cancel)).ShouldContain("fd12:3456:789a:1::/64");
        var refused = await ops.PostAsync(page, $"{page}?handler=reserve", Cancel,
            ("Range", "10.99.0.1"), ("Reason", "mine")).ReadAsync(Cancel);
        refused.Status.ShouldBe(400);
        refused.Page.ShouldContain("<a href=\"#Range\">");
        (await ops.PostAsync(page, $"{page}?handler=reserve", Cancel, ("Range", "10.77.0.30-10.77.0.31"),
            ("Reason", "the router")).ReadAsync(Cancel)).Page.ShouldContain("2 addresses are reserved.");
        (await ops.ReadAsync(page, Cancel)).ShouldContain("the router");
        (await ops.PostAsync(page, $"{page}?handler=release", Cancel, ("Range", "10.77.0.30")).ReadAsync(Cancel)).Page
            .ShouldContain("1 address is released.");
        (await ops.PostAsync(page, $"{page}?handler=cooldown", Cancel, ("Hours", "24")).ReadAsync(Cancel)).Page
            .ShouldContain("Addresses cool down for 24 h.");
        (await ops.ReadAsync("/operator/pools/host-9", Cancel)).ShouldContain("There is no pool of a host host-9.");
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ada.ReadAsync(page, Cancel)).ShouldContain("Not found");
    }

    [Fact]
    public async Task A_capsul_is_moved_by_its_form_and_its_owner_sees_how_far_it_is()
    {
        await using var hub = await StartAsync();
        using var ops = await hub.SignInAsync(Ops, Cancel);
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        const string page = "/operator/vms/capsul-running000/move";
        (await ops.ReadAsync("/operator/hosts/host-1", Cancel)).ShouldContain($"href=\"{page}\"");
        (await ada.ReadAsync(page, Cancel)).ShouldContain("Not found");
        (await ops.PostAsync(page, Cancel).ReadAsync(Cancel)).Page.ShouldContain("too old to move disks");
        await hub.Db.ExecuteAsync("""
            UPDATE hosts SET moves_disks = TRUE;
            INSERT INTO hosts (id, state, online, memory_mb, disk_free_mb, moves_disks)
            VALUES ('host-2', 'joined', TRUE, 32768, 500000, TRUE), ('host-3', 'joined', TRUE, 1, 500000, TRUE);
            INSERT INTO addresses (host, address, mac)
            VALUES ('host-2', '10.77.0.9', '52:54:00:00:00:09'), ('host-3', '10.77.0.9', '52:54:00:00:00:09')
            """, null, Cancel);
        var form = await ops.ReadAsync(page, Cancel);
        form.ShouldContain("<option value=\"host-2\"");
        form.ShouldNotContain("host-3", customMessage: "it has no room");
        var refused = await ops.PostAsync(page, Cancel, ("To", "host-3")).ReadAsync(Cancel);
        refused.Page.ShouldContain("of memory free; the capsul needs 1 GiB.");
        (await ops.PostAsync(page, Cancel, ("To", "host-2"), ("Reason", "new disks")).ReadAsync(Cancel)).Page
            .ShouldContain("Moving from host-1 to host-2: new disks");
        await hub.Db.ExecuteAsync("""
            UPDATE moves SET bytes_done = 536870912, bytes_total = 1610612736;
            UPDATE operations SET step = 'copy' WHERE kind = 'move_vm'
            """, null, Cancel);
        var own = await ada.ReadAsync("/vms/capsul-running000", Cancel);
        own.ShouldContain("Being moved to another host");
        own.ShouldContain("512 MiB of 1.5 GiB copied");
        own.ShouldContain("value=\"536870912\"");
        own.ShouldNotContain("act-cancel");
        var id = await hub.Db.FindAsync<long>("SELECT operation FROM moves", null, Cancel);
        (await ops.ReadAsync($"/operator/operations/{id}", Cancel)).ShouldContain("512 MiB of 1.5 GiB");
        (await ada.ReadAsync($"/vms/capsul-running000/operations/{id}", Cancel)).ShouldContain("512 MiB of 1.5 GiB");
        (await ops.PostAsync($"/operator/operations/{id}", $"/operator/operations/{id}?handler=cancel", Cancel)
            .ReadAsync(Cancel)).Page.ShouldContain("Cancel requested");
    }

    [Fact]
    public async Task A_host_is_evacuated_by_its_form_which_shows_what_cannot_be_moved()
    {
        await using var hub = await StartAsync();
        using var ops = await hub.SignInAsync(Ops, Cancel);
        const string page = "/operator/hosts/host-1";
        (await ops.PostAsync(page, page + "?handler=evacuate", Cancel, ("To", "host-1"), ("Reason", "x"))
            .ReadAsync(Cancel)).Page.ShouldContain("cannot be evacuated to itself");
        (await ops.PostAsync(page, page + "?handler=evacuate", Cancel, ("Reason", "old")).ReadAsync(Cancel)).Page
            .ShouldContain("host-1 is being evacuated.");
        await hub.Db.ExecuteAsync("""
            INSERT INTO move_refusals (vm, at, problem) VALUES ('capsul-stopped000', now(), 'No other host is online.')
            """, null, Cancel);
        var shown = await ops.ReadAsync(page, Cancel);
        shown.ShouldContain("Moves in progress: 0.");
        shown.ShouldContain("No other host is online.");
        (await ops.PostAsync(page, page + "?handler=undrain", Cancel).ReadAsync(Cancel)).Page
            .ShouldNotContain("Moves in progress");
        (await hub.Db.FindAsync<int>("SELECT count(*)::integer FROM move_refusals", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task An_operation_is_shown_to_its_owner_and_to_operators_who_may_force_it()
    {
        await using var hub = await StartAsync();
        using var ops = await hub.SignInAsync(Ops, Cancel);
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ada.ReadAsync("/vms/capsul-creating00", Cancel)).ShouldContain("/vms/capsul-creating00/operations/1");
        var own = await ada.ReadAsync("/vms/capsul-creating00/operations/1", Cancel);
        own.ShouldContain("Create capsul");
        own.ShouldContain("Waiting for SSH");
        own.ShouldNotContain("Force");
        (await ada.ReadAsync("/vms/capsul-running000/operations/1", Cancel)).ShouldContain("no such operation");
        (await ops.ReadAsync("/operator/operations", Cancel)).ShouldContain("/operator/operations/1");
        foreach (var query in (string[])["?Which=all", "?Which=all&q=capsul-creating00",
            $"?Which=all&q={Sample.Email}", $"?Which=open&q={Sample.Email}&Before=2"])
            (await ops.ReadAsync("/operator/operations" + query, Cancel))
                .ShouldContain("/operator/operations/1\"", customMessage: query);
        (await ops.ReadAsync("/operator/operations?q=eve@example.org", Cancel)).ShouldContain("No operation matches");
        const string page = "/operator/operations/1";
        (await ops.PostAsync(page, page + "?handler=force", Cancel, ("Reason", " ")).ReadAsync(Cancel))
            .Page.ShouldContain("Give a reason");
        (await ops.PostAsync(page, page + "?handler=force", Cancel, ("Reason", "no way back")).ReadAsync(Cancel))
            .Page.ShouldContain("Force requested by an operator: no way back");
        (await ops.PostAsync(page, page + "?handler=retry", Cancel).ReadAsync(Cancel)).Status.ShouldBe(409);
    }
}
