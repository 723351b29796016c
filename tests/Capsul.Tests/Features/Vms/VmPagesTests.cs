using System.Text.RegularExpressions;
using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Vms;

/// <summary>The pages of VMs, over the real pipeline; decisions have their own tests.</summary>
public sealed partial class VmPagesTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_new_account_sees_what_to_do_first()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        using var visitor = await hub.SignInAsync("new@example.org", Cancel);
        var page = await visitor.ReadAsync("/console", Cancel);
        page.ShouldContain("You have no capsuls yet");
        page.ShouldContain("Create your first one");
    }

    [Fact]
    public async Task The_form_creates_a_capsul_and_its_page_shows_progress()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var page = (await CreateAsync(visitor, ("Name", "engine"), ("Size", "f1-s"),
            ("Image", "debian-12"), ("KeyIds", "1"), ("KeyIds", "2")).ReadAsync(Cancel)).Page;
        page.ShouldContain("<h1 class=\"break\" tabindex=\"-1\">engine</h1>");
        page.ShouldContain("Your capsul is being created");
        page.ShouldContain("Creating your capsul");
        page.ShouldContain("Scheduled on host host-1");
        page.ShouldContain("Cancel");
        page.ShouldContain("http-equiv=\"refresh\"");
        (await visitor.ReadAsync("/console", Cancel)).ShouldContain("engine");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM vm_ssh_keys", null, Cancel)).ShouldBe(2);
    }

    [Theory]
    [InlineData("Not A Name", "f1-s", "debian-12", "1", 400, "Name")]
    [InlineData("typed", "huge", "debian-12", "1", 400, "Size")]
    [InlineData("typed", "f1-s", "windows", "1", 400, "Image")]
    [InlineData("typed", "f1-s", "debian-12", "", 400, "KeyIds")]
    [InlineData("typed", "f1-s", "debian-12", "999", 400, "KeyIds")]
    public async Task A_refusal_is_shown_beside_its_field_and_the_input_is_kept(
        string name, string size, string image, string key, int status, string where)
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (string, string)[] keys = key.Length == 0 ? [] : [("KeyIds", key)];
        var answer =
            await CreateAsync(visitor, [("Name", name), ("Size", size), ("Image", image), .. keys]).ReadAsync(Cancel);
        answer.Status.ShouldBe(status);
        answer.Page.ShouldContain($"<a href=\"#{where}\">");
        answer.Page.ShouldContain($"id=\"{where}\"");
        answer.Page.ShouldContain($"id=\"{where}-error\"");
        answer.Page.ShouldContain($"value=\"{name}\"");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM vms", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task An_insufficient_balance_is_shown_with_how_to_top_up()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        await hub.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (await visitor.ReadAsync("/vms/new", Cancel))
            .ShouldContain("Add play money <span class=\"optional\">(needed)</span>");
        var answer = await CreateAsync(visitor, ("Name", ""), ("Size", "f1-s"), ("Image", "tiny"), ("KeyIds", "1"))
            .ReadAsync(Cancel);
        answer.Status.ShouldBe(402);
        answer.Page.ShouldContain("Your balance is $0.00");
        answer.Page.ShouldContain("Top up first.");
    }

    [Fact]
    public async Task A_newcomer_pastes_a_key_adds_play_money_and_creates_in_one_form()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync("grace@example.org", Cancel);
        var page = await visitor.ReadAsync("/vms/new", Cancel);
        page.ShouldContain("Public SSH key");
        page.ShouldContain("$0.0103/hour");
        var answer = await CreateAsync(visitor, ("Size", "f1-s"), ("Image", "debian-12"),
            ("NewKey", Sample.Ed25519("grace@cobol")), ("Dollars", "10"))
            .ReadAsync(Cancel);
        answer.Page.ShouldContain("Creating your capsul");
        (await hub.Db.FindAsync<string>(
            "SELECT concat_ws(' ', (SELECT name FROM ssh_keys WHERE email = @email), (SELECT dollars "
            + "FROM payments WHERE email = @email), (SELECT name FROM vm_ssh_keys))",
            new { email = "grace@example.org" }, Cancel)).ShouldBe("grace@cobol 10.00 grace@cobol");
    }

    [Theory]
    [InlineData("no key", "10", "NewKey,")]
    [InlineData("", "10", "NewKey,")]
    [InlineData("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n", "ten", "NewKey,Dollars,")]
    public async Task A_newcomers_mistakes_are_listed_at_the_top_and_nothing_is_saved(
        string key, string dollars, string fields)
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync("grace@example.org", Cancel);
        var answer = await CreateAsync(
            visitor, ("Size", "f1-s"), ("Image", "debian-12"), ("NewKey", key), ("Dollars", dollars)).ReadAsync(Cancel);
        answer.Status.ShouldBe(400);
        answer.Page.ShouldContain("<title>Error: ");
        foreach (var field in fields.Split(',', StringSplitOptions.RemoveEmptyEntries))
            answer.Page.ShouldContain($"<a href=\"#{field}\">");
        answer.Page.ShouldNotContain("c2VjcmV0");
        answer.Page.ShouldContain($"value=\"{dollars}\"");
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM payments WHERE email = 'grace@example.org'", null, Cancel))
            .ShouldBe(0);
    }

    [Fact]
    public async Task A_form_submitted_twice_creates_one_capsul_and_one_payment()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_ENVIRONMENT", "development"));
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync("grace@example.org", Cancel);
        (string, string)[] fields =
            [("Size", "f1-s"), ("Image", "debian-12"), ("NewKey", Sample.Ed25519()), ("Dollars", "10"),
                ("Draft", Hidden("Draft", await visitor.ReadAsync("/vms/new", Cancel)))];
        var answers = await Task.WhenAll(
            CreateAsync(visitor, fields).ReadAsync(Cancel), CreateAsync(visitor, fields).ReadAsync(Cancel));
        answers.ShouldAllBe(a => a.Status == 200);
        (await hub.Db.FindAsync<long>("SELECT count(*) FROM vms", null, Cancel)).ShouldBe(1);
        (await hub.Db.FindAsync<decimal>(
            "SELECT sum(dollars) FROM payments WHERE email = 'grace@example.org'", null, Cancel)).ShouldBe(10);
    }

    [Fact]
    public async Task Try_again_opens_the_form_as_it_was_filled_in()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (await visitor.ReadAsync("/vms/capsul-failed0000", Cancel))
            .ShouldContain("/vms/new?Size=f1-s&Image=debian-12&Name=unlucky");
        var page = await visitor.ReadAsync("/vms/new?Size=f1-m&Image=debian-12&Name=unlucky", Cancel);
        page.ShouldContain("value=\"f1-m\" checked=\"checked\"");
        page.ShouldContain("value=\"unlucky\"");
    }

    [Fact]
    public async Task Many_capsuls_are_shown_a_page_at_a_time_and_can_be_searched_and_sorted()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        const int many = ListVmsPage.PageRows + 10;
        for (var i = 0; i < many; i++)
            await Sample.AddVmAsync(
                hub, $"capsul-many{i:000000}", $"web-{i:000}", i % 2 == 0 ? "running" : "stopped", "on", 6, "", Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        foreach (var sort in ListVmsPage.Sorts)
        {
            var first = await visitor.ReadAsync($"/console?sort={sort.Name}", Cancel);
            first.ShouldContain($"{many} capsuls");
            var next = NextPage().Match(first).Groups["path"].Value;
            var second = await visitor.ReadAsync(next, Cancel);
            (Rows(first) + Rows(second)).ShouldBe(many, sort.Name);
            Rows(first).ShouldBe(ListVmsPage.PageRows);
            second.ShouldNotContain("Next page");
        }
        (await visitor.ReadAsync("/console?q=web-00&State=running", Cancel)).ShouldContain($"5 of {many} capsuls");
        (await visitor.ReadAsync("/console?q=nothing", Cancel)).ShouldContain("No capsul matches");
        (await visitor.ReadAsync("/console?After=capsul-elsewhere0", Cancel)).ShouldNotContain("web-001");
    }

    static int Rows(string page) => page.Split("<tr id=\"capsul-").Length - 1;

    static string Hidden(string name, string page) =>
        Regex.Match(page, $"name=\"{name}\" value=\"(?<v>[^\"]+)\"",
            RegexOptions.ExplicitCapture, TimeSpan.FromSeconds(1)).Groups["v"].Value;

    [GeneratedRegex("href=\"(?<path>/console\\?[^\"]*After=[^\"]*)\"", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex NextPage();

    [Fact]
    public async Task A_debt_is_stated_plainly()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await hub.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (await visitor.ReadAsync("/balance", Cancel)).ShouldContain("<p class=\"lead bad\">You owe $6.66.");
        var console = await visitor.ReadAsync("/console", Cancel);
        console.ShouldContain("Your balance is used up.");
        console.ShouldContain("−$6.66");
        console.ShouldNotContain(", lasts");
    }

    [Fact]
    public async Task The_page_of_a_running_capsul_shows_how_to_log_in()
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
        page.ShouldContain("SSH did not respond in time");
        page.ShouldContain("EXT4-fs");
        page.ShouldNotContain("ssh -p");
    }

    [Fact]
    public async Task Buttons_start_operations_and_a_second_press_is_refused()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        const string vm = "/vms/capsul-running000";
        (await visitor.PostAsync(vm, vm + "?handler=stop", Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("Shutting down");
        var again = await visitor.PostAsync("/keys", vm + "?handler=stop", Cancel).ReadAsync(Cancel);
        again.Status.ShouldBe(409);
        again.Page.ShouldContain("already stopping");
        (await visitor.PostAsync("/keys", "/vms/capsul-stopped000?handler=start", Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("Waiting for SSH");
        (await visitor.PostAsync("/keys", "/vms/capsul-silent0000?handler=restart", Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("starting again");
        (await visitor.PostAsync("/keys", "/vms/capsul-creating00?handler=cancel", Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("Cancel requested.");
    }

    [Fact]
    public async Task Deleting_asks_for_confirmation_and_stops_charging()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (await visitor.ReadAsync("/vms/capsul-running000/delete", Cancel)).ShouldContain("Delete this capsul?");
        (await visitor.PostAsync("/vms/capsul-running000/delete", Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("Removing machine, disk and address");
        (await hub.Db.FindAsync<bool>("SELECT bool_or(upper_inf(span)) FROM usage_spans WHERE vm = 'capsul-running000'",
            null, Cancel)).ShouldBeFalse();
        (await visitor.GetAsync("/vms/capsul-running000/delete", Cancel).ReadAsync(Cancel))
            .Page.ShouldContain("already deleting");
    }

    [Fact]
    public async Task A_change_in_the_database_is_sent_to_a_waiting_page()
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
            (await reader.ReadLineAsync(Cancel)).ShouldBe("event: hello");
            await hub.Db.ExecuteAsync(
                "UPDATE vms SET problem = problem || '!' WHERE id = 'capsul-creating00'", null, Cancel);
            string? line;
            do
                line = await reader.ReadLineAsync(Cancel);
            while (line is not null and not "event: changed");
            line.ShouldBe("event: changed");
        }
    }

    [Fact]
    public async Task A_stream_ends_with_the_session_and_the_next_one_is_refused_with_a_status_for_scripts()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        using var answer = await visitor.SendAsync(new HttpRequestMessage(HttpMethod.Get, "/console/events"), Cancel);
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(Cancel));
        (await reader.ReadLineAsync(Cancel)).ShouldBe("event: hello");
        await hub.Db.ExecuteAsync("DELETE FROM sessions", null, Cancel);
        await hub.Db.ExecuteAsync("UPDATE vms SET problem = 'x' WHERE id = 'capsul-creating00'", null, Cancel);
        await reader.ReadToEndAsync(Cancel);
        using var next = await visitor.SendAsync(new HttpRequestMessage(HttpMethod.Get, "/console/events"), Cancel);
        ((int)next.StatusCode).ShouldBe(401);
    }

    [Fact]
    public async Task The_number_of_streams_per_account_is_limited()
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

    static Task<HttpResponseMessage> CreateAsync(Visitor visitor, params (string, string)[] fields) =>
        visitor.PostAsync("/vms/new", Cancel, fields);
}
