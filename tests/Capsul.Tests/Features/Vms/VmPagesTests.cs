using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Vms;

/// <summary>The pages of VMs, over the real pipeline; what a decision allows is tested beside the decision.</summary>
public sealed class VmPagesTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_new_account_is_told_what_comes_first()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("new@example.org", Cancel);
        var page = await visitor.ReadAsync("/console", Cancel);
        page.ShouldContain("1. Add a public SSH key");
        page.ShouldContain("2. Top up");
        page.ShouldContain("You have no capsul yet");
    }

    [Fact]
    public async Task A_capsul_is_made_with_the_form_and_its_page_shows_what_is_done()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var page = (await CreateAsync(visitor, ("Name", "engine"), ("Size", "f1-s"), ("Image", "debian-12"), ("KeyIds", "1"), ("KeyIds", "2")).ReadAsync(Cancel)).Page;
        page.ShouldContain("<h1 class=\"break\">engine</h1>");
        page.ShouldContain("being made");
        page.ShouldContain("Accepted; it will live on host host-1");
        page.ShouldContain("Cancel");
        page.ShouldContain("http-equiv=\"refresh\"");
        (await visitor.ReadAsync("/console", Cancel)).ShouldContain("engine");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM vm_ssh_keys", null, Cancel)).ShouldBe(2);
    }

    [Theory]
    [InlineData("Not A Name", "f1-s", "debian-12", "1", 400, "Name-problem")]
    [InlineData("typed", "huge", "debian-12", "1", 400, "Size-problem")]
    [InlineData("typed", "f1-s", "windows", "1", 400, "Image-problem")]
    [InlineData("typed", "f1-s", "debian-12", "", 400, "KeyIds-problem")]
    [InlineData("typed", "f1-s", "debian-12", "999", 400, "KeyIds-problem")]
    public async Task A_refusal_stands_beside_its_field_and_what_was_typed_stays(string name, string size, string image, string key, int status, string where)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (string, string)[] keys = key.Length == 0 ? [] : [("KeyIds", key)];
        var answer = await CreateAsync(visitor, [("Name", name), ("Size", size), ("Image", image), .. keys]).ReadAsync(Cancel);
        answer.Status.ShouldBe(status);
        answer.Page.ShouldContain($"id=\"{where}\"");
        answer.Page.ShouldContain($"value=\"{name}\"");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM vms", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task Too_little_money_is_said_with_the_way_to_more()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        await hub.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (await visitor.ReadAsync("/vms/new", Cancel)).ShouldContain("play money first");
        var answer = await CreateAsync(visitor, ("Name", ""), ("Size", "f1-s"), ("Image", "tiny"), ("KeyIds", "1")).ReadAsync(Cancel);
        answer.Status.ShouldBe(402);
        answer.Page.ShouldContain("Your balance is $0.00");
        answer.Page.ShouldContain("Top up with play money");
    }

    [Fact]
    public async Task The_page_of_a_running_capsul_says_how_to_enter_it()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var page = await visitor.ReadAsync("/vms/capsul-running000", Cancel);
        page.ShouldContain("ssh -p 22001 debian@127.0.0.1");
        page.ShouldContain("SHA256:b0Pp6QyVn8J5Qq2r0u8Yw1r7o3m2c5d9e4f6a1b2c3d");
        page.ShouldContain("[127.0.0.1]:22001 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0");
        page.ShouldContain("$2.22");
        page.ShouldNotContain("http-equiv=\"refresh\"");
    }

    [Fact]
    public async Task A_failed_capsul_shows_why_and_the_end_of_its_console()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var page = await visitor.ReadAsync("/vms/capsul-failed0000", Cancel);
        page.ShouldContain("SSH did not answer in time");
        page.ShouldContain("EXT4-fs");
        page.ShouldNotContain("ssh -p");
    }

    [Fact]
    public async Task Buttons_begin_operations_and_a_second_press_is_refused()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        const string vm = "/vms/capsul-running000";
        (await visitor.PostAsync(vm, vm + "?handler=stop", Cancel).ReadAsync(Cancel)).Page.ShouldContain("The guest shuts down");
        var again = await visitor.PostAsync("/keys", vm + "?handler=stop", Cancel).ReadAsync(Cancel);
        again.Status.ShouldBe(409);
        again.Page.ShouldContain("already stopping");
        (await visitor.PostAsync("/keys", "/vms/capsul-stopped000?handler=start", Cancel).ReadAsync(Cancel)).Page.ShouldContain("It starts until SSH answers");
        (await visitor.PostAsync("/keys", "/vms/capsul-silent0000?handler=restart", Cancel).ReadAsync(Cancel)).Page.ShouldContain("starts again");
        (await visitor.PostAsync("/keys", "/vms/capsul-creating00?handler=cancel", Cancel).ReadAsync(Cancel)).Page.ShouldContain("It is being cancelled");
    }

    [Fact]
    public async Task Deleting_asks_once_more_and_ends_the_charge()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (await visitor.ReadAsync("/vms/capsul-running000/delete", Cancel)).ShouldContain("Delete this capsul?");
        (await visitor.PostAsync("/vms/capsul-running000/delete", Cancel).ReadAsync(Cancel)).Page.ShouldContain("Machine, disk and address are removed");
        (await hub.Db.FindAsync<bool>("SELECT bool_or(upper_inf(span)) FROM usage_spans WHERE vm = 'capsul-running000'", null, Cancel)).ShouldBeFalse();
        (await visitor.GetAsync("/vms/capsul-running000/delete", Cancel).ReadAsync(Cancel)).Page.ShouldContain("already deleting");
    }

    [Fact]
    public async Task A_change_in_the_database_is_told_to_the_page_that_waits()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        foreach (var path in (string[])["/vms/capsul-creating00/events", "/console/events"])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            using var answer = await visitor.SendAsync(request, Cancel);
            answer.Content.Headers.ContentType!.MediaType.ShouldBe("text/event-stream");
            using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(Cancel));
            (await reader.ReadLineAsync(Cancel)).ShouldBe("retry: 2000");
            await hub.Db.ExecuteAsync("UPDATE vms SET problem = problem || '!' WHERE id = 'capsul-creating00'", null, Cancel);
            string? line;
            do
                line = await reader.ReadLineAsync(Cancel);
            while (line is not null and not "event: changed");
            line.ShouldBe("event: changed");
        }
    }

    [Fact]
    public async Task The_streams_of_one_account_are_bounded()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var open = new List<HttpResponseMessage>();
        for (var i = 0; i < VmEvents.MaxStreams; i++)
            open.Add(await visitor.SendAsync(new HttpRequestMessage(HttpMethod.Get, "/console/events"), Cancel));
        using (var refused = await visitor.SendAsync(new HttpRequestMessage(HttpMethod.Get, "/console/events"), Cancel))
            ((int)refused.StatusCode).ShouldBe(429);
        foreach (var answer in open)
            answer.Dispose();
    }

    static Task<HttpResponseMessage> CreateAsync(Visitor visitor, params (string, string)[] fields) => visitor.PostAsync("/vms/new", Cancel, fields);
}
