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
