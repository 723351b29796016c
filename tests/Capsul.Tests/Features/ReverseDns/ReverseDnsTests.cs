using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.ReverseDns;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.ReverseDns;

/// <summary>Names of addresses, with a real DNS server.</summary>
public sealed class ReverseDnsTests
{
    const string Ip = "203.0.113.2", Ip6 = "2001:db8::5054:cb:71:2";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>A VM with public addresses.</summary>
    static async Task<(VmRows Rows, string Id)> MakeVmAsync()
    {
        var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            UPDATE addresses SET address = '203.0.113.0'::inet + (address - '10.77.0.0'::inet),
                address6 = '2001:db8::5054:cb:71:0'::inet + (address - '10.77.0.0'::inet);
            UPDATE pools SET network = '203.0.113.0/29', gateway = '203.0.113.1', first = '203.0.113.2',
                last = '203.0.113.3'
            """, null, Cancel);
        return (rows, await rows.RunningVmAsync(Cancel));
    }

    static Task<Outcome<string>> SetAsync(VmRows rows, DnsServer dns, string id, string address, string? name,
        string email = VmRows.Email) => SetReverseName.RunAsync(
            rows.Db, email, email, id, address, name, rows.Settings.With(dns.Settings), Cancel);

    static Task<int> LookAsync(VmRows rows, DnsServer dns, params (string Name, string? Value)[] changes) =>
        new ReverseNames(rows.Db, rows.Fence, rows.Settings.With([.. dns.Settings, .. changes]), rows.Time,
            NullLogger<ReverseNames>.Instance).LookAsync(rows.Epoch, Cancel);

    static Task<IReadOnlyList<ReverseNameRow>> NamesAsync(VmRows rows, string id) =>
        rows.Db.ListAsync<ReverseNameRow>(ReverseNameSql.OfVm, new { id }, Cancel);

    [Theory]
    [InlineData("192.0.2.10", "10.2.0.192.in-addr.arpa.")]
    [InlineData("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.")]
    public void The_record_of_an_address_has_its_digits_in_reverse(string address, string pointer) =>
        DnsUpdate.PointerOf(IPAddress.Parse(address)).ShouldBe(pointer);

    [Fact]
    public async Task The_server_is_told_what_an_address_is_called_until_it_is_called_nothing()
    {
        await using var dns = await DnsServer.StartAsync();
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        (await SetAsync(rows, dns, id, Ip, " Mail.Example.org. ")).OrThrow().ShouldBe("mail.example.org");
        (await SetAsync(rows, dns, id, Ip6, "six.example.org")).OrThrow();
        (await NamesAsync(rows, id)).Select(n => (n.Name, n.Published))
            .ShouldBe([("mail.example.org", false), ("six.example.org", false)]);
        (await LookAsync(rows, dns)).ShouldBe(2);
        (await NamesAsync(rows, id)).ShouldAllBe(n => n.Published && n.Problem == "");
        (await dns.NamesAsync(Ip)).ShouldBe("mail.example.org.");
        (await dns.NamesAsync(Ip6)).ShouldBe("six.example.org.");
        (await LookAsync(rows, dns)).ShouldBe(0, "nothing has changed");

        (await SetAsync(rows, dns, id, Ip, "www.example.org")).OrThrow();
        (await SetAsync(rows, dns, id, Ip, "a.example.org")).OrThrow();
        (await LookAsync(rows, dns)).ShouldBe(1);
        (await dns.NamesAsync(Ip)).ShouldBe("a.example.org.", "one name, the newest");

        (await SetAsync(rows, dns, id, Ip, "")).OrThrow().ShouldBe("");
        (await LookAsync(rows, dns)).ShouldBe(1);
        (await dns.NamesAsync(Ip)).ShouldBe("");
        (await dns.NamesAsync(Ip6)).ShouldBe("six.example.org.");
        (await rows.CountAsync("reverse_names", "TRUE", Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task A_name_goes_with_the_vm_and_the_next_one_that_has_the_address_gives_its_own()
    {
        await using var dns = await DnsServer.StartAsync();
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        (await SetAsync(rows, dns, id, Ip, "old.example.org")).OrThrow();
        (await SetAsync(rows, dns, id, Ip6, "old6.example.org")).OrThrow();
        (await LookAsync(rows, dns)).ShouldBe(2);
        (await rows.ChangeAsync(VmActions.Delete, id, Cancel)).OrThrow();
        (await SetAsync(rows, dns, id, Ip, "late.example.org")).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        await rows.ReportAsync(id, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await SetAsync(rows, dns, id, Ip, "late.example.org")).Problem.ShouldBe(VmAction.NotFound);

        await rows.Db.ExecuteAsync(
            "UPDATE addresses SET reserved = 'x' WHERE address <> @Ip::inet", new { Ip }, Cancel);
        var next = await rows.RunningVmAsync(Cancel);
        (await SetAsync(rows, dns, next, Ip, "new.example.org")).OrThrow();
        (await LookAsync(rows, dns)).ShouldBe(2);
        (await dns.NamesAsync(Ip)).ShouldBe("new.example.org.");
        (await dns.NamesAsync(Ip6)).ShouldBe("");
        (await NamesAsync(rows, next)).Select(n => n.Name).ShouldBe(["new.example.org", ""]);
    }

    [Fact]
    public async Task A_server_that_does_not_take_it_is_told_again_until_it_does()
    {
        await using var dns = await DnsServer.StartAsync();
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        (await SetAsync(rows, dns, id, Ip, "mail.example.org")).OrThrow();
        var wrong = ("CAPSUL_DNS_KEY", (string?)"hmac-sha256:capsul:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        (await LookAsync(rows, dns, wrong)).ShouldBe(0);
        (await NamesAsync(rows, id))[0].Problem.ShouldContain("BADSIG");
        (await LookAsync(rows, dns)).ShouldBe(0, "it waits");
        await dns.StopAsync();
        rows.Time.Advance(TimeSpan.FromSeconds(5));
        (await LookAsync(rows, dns)).ShouldBe(0);
        (await NamesAsync(rows, id))[0].Problem.ShouldContain("could not reach any name server");
        await dns.ResumeAsync();
        rows.Time.Advance(TimeSpan.FromSeconds(9));
        (await LookAsync(rows, dns)).ShouldBe(0, "it waits longer");
        rows.Time.Advance(TimeSpan.FromSeconds(1));
        (await LookAsync(rows, dns)).ShouldBe(1);
        (await NamesAsync(rows, id))[0].ShouldBe(new ReverseNameRow(Ip, "mail.example.org", true, ""));
        (await dns.NamesAsync(Ip)).ShouldBe("mail.example.org.");
    }

    [Fact]
    public async Task The_doctor_says_whether_the_server_can_be_told()
    {
        var none = Settings.Load(new Dictionary<string, string>());
        (await CheckDns.RunAsync(none, Cancel)).ShouldBeEmpty();
        await using var dns = await DnsServer.StartAsync();
        (await CheckDns.RunAsync(none.With(dns.Settings), Cancel)).ShouldHaveSingleItem().Verdict.ShouldBe(Verdict.Ok);
        await dns.StopAsync();
        var down = (await CheckDns.RunAsync(none.With(dns.Settings), Cancel)).ShouldHaveSingleItem();
        (down.Verdict, down.Says.Contains("does not accept connections", StringComparison.Ordinal))
            .ShouldBe((Verdict.Fail, true));
    }

    [Fact]
    public async Task What_others_change_at_the_server_is_put_right_within_a_day()
    {
        await using var dns = await DnsServer.StartAsync();
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        (await SetAsync(rows, dns, id, Ip, "mail.example.org")).OrThrow();
        (await LookAsync(rows, dns)).ShouldBe(1);
        await dns.EditAsync($"delete 2.{DnsServer.Zone}. PTR");
        await dns.EditAsync($"add 2.{DnsServer.Zone}. 60 PTR evil.example.org.");
        (await dns.NamesAsync(Ip)).ShouldBe("evil.example.org.");
        rows.Time.Advance(ReverseNames.Again);
        (await LookAsync(rows, dns)).ShouldBe(1);
        (await dns.NamesAsync(Ip)).ShouldBe("mail.example.org.");
    }

    [Fact]
    public async Task A_name_that_changes_while_the_server_is_told_stays_due()
    {
        await using var dns = await DnsServer.StartAsync();
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        (await SetAsync(rows, dns, id, Ip, "first.example.org")).OrThrow();
        var due = await rows.Db.ListAsync<DueNameRow>(ReverseNameSql.Due, new { now = rows.Now, limit = 9 }, Cancel);
        (await SetAsync(rows, dns, id, Ip, "second.example.org")).OrThrow();
        foreach (var sql in (string[])[ReverseNameSql.Published, ReverseNameSql.Forget])
            (await rows.Db.ExecuteAsync(sql, new { due[0].Address, due[0].Name, next = rows.Now }, Cancel)).ShouldBe(0);
        (await LookAsync(rows, dns)).ShouldBe(1);
        (await dns.NamesAsync(Ip)).ShouldBe("second.example.org.");
    }

    [Theory]
    [InlineData("mail"), InlineData("mail..example.org"), InlineData("-a.example.org"), InlineData("a b.example.org")]
    [InlineData("mail.example.org\nsend"), InlineData("192.0.2.1"), InlineData("müller.example.org")]
    [InlineData("*.example.org"), InlineData("hub.example.org"), InlineData("a_b.example.org")]
    public async Task What_is_no_name_for_it_is_refused(string name)
    {
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        var settings = rows.Settings.With(("CAPSUL_DNS_SERVER", "127.0.0.1"),
            ("CAPSUL_DNS_KEY", "hmac-sha256:k:AAAA"), ("CAPSUL_BASE_URL", "https://hub.example.org/"));
        (await SetReverseName.RunAsync(rows.Db, "a", VmRows.Email, id, Ip, name, settings, Cancel))
            .Problem!.Field.ShouldBe("Name");
    }

    [Fact]
    public async Task Only_public_addresses_of_ones_own_vm_get_names()
    {
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        var settings = rows.Settings.With(("CAPSUL_DNS_SERVER", "127.0.0.1"),
            ("CAPSUL_DNS_KEY", "hmac-sha256:k:AAAA"));
        Task<Outcome<string>> SetAsync(string? email, string? address, Settings with) => SetReverseName.RunAsync(
            rows.Db, "a", email, id, address, "a.example.org", with, Cancel);
        (await SetAsync("bob@example.org", Ip, settings)).Problem.ShouldBe(VmAction.NotFound);
        foreach (var address in (string?[])["203.0.113.3", "nothing", null, ""])
            (await SetAsync(VmRows.Email, address, settings)).Problem!.Kind.ShouldBe(ProblemKind.NotFound, address);
        (await SetAsync(VmRows.Email, Ip, rows.Settings)).Problem!.Message.ShouldBe(
            "Addresses cannot be given names here.");
        (await SetAsync(null, "2001:DB8:0::5054:cb:71:2", settings)).OrThrow();
        await rows.Db.ExecuteAsync("UPDATE addresses SET address = '10.77.0.2', address6 = NULL WHERE vm = @id",
            new { id }, Cancel);
        (await SetAsync(VmRows.Email, "10.77.0.2", settings)).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        (await rows.CountAsync("reverse_names", "vm IS NOT NULL", Cancel)).ShouldBe(0, "the VM has lost that address");
    }

    [Fact]
    public async Task A_name_that_another_vm_gave_the_address_stays()
    {
        await using var dns = await DnsServer.StartAsync();
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        var other = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            SET LOCAL session_replication_role = replica;
            INSERT INTO reverse_names (address, vm, name) VALUES (@Ip::inet, @other, 'theirs.example.org');
            """, new { Ip, other }, Cancel);
        (await SetAsync(rows, dns, id, Ip, "mine.example.org")).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await rows.CountAsync("reverse_names", "name = 'theirs.example.org'", Cancel)).ShouldBe(1);
    }

    [Theory]
    [InlineData("INSERT INTO reverse_names (address, vm, name) VALUES ('203.0.113.3', @id, 'a.b')",
        "reverse_names_of_vm")]
    [InlineData("INSERT INTO reverse_names (address, name) VALUES ('203.0.113.3', 'a.b')", "reverse_names_of_somebody")]
    [InlineData("INSERT INTO reverse_names (address, vm, name) VALUES ('203.0.113.2', @id, 'A.b')",
        "reverse_names_name_is_dns")]
    [InlineData("INSERT INTO reverse_names (address, vm, name) VALUES ('203.0.113.2', @id, E'a.b\nsend')",
        "reverse_names_name_is_dns")]
    [InlineData("INSERT INTO reverse_names (address, name) VALUES ('203.0.113.0/24', '')", "reverse_names_single")]
    public async Task The_database_refuses_what_is_no_name_of_a_vms_address(string sql, string constraint)
    {
        var (rows, id) = await MakeVmAsync();
        await using var _ = rows;
        (await Should.ThrowAsync<PostgresException>(rows.Db.ExecuteAsync(sql, new { id }, Cancel)))
            .ConstraintName.ShouldBe(constraint);
    }

    [Fact]
    public async Task The_page_of_a_vm_has_the_names_of_its_addresses()
    {
        await using var hub = await WebHub.StartAsync(
            Cancel, ("CAPSUL_DNS_SERVER", "127.0.0.1"), ("CAPSUL_DNS_KEY", "hmac-sha256:k:AAAA"));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        const string id = "capsul-running000", page = $"/vms/{id}/reverse-dns";
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        (await owner.ReadAsync(page, Cancel)).ShouldContain("no public address");
        (await owner.ReadAsync($"/vms/{id}", Cancel)).ShouldNotContain("Reverse DNS");
        await hub.Db.ExecuteAsync("UPDATE addresses SET address = @Ip::inet WHERE vm = @id", new { Ip, id }, Cancel);
        (await owner.ReadAsync($"/vms/{id}", Cancel)).ShouldContain("Reverse DNS");
        (await owner.PostAsync(page, Cancel, ("Address", Ip), ("Name", "mail")).ReadAsync(Cancel)).Page
            .ShouldContain("href=\"#Name\"");
        (await owner.PostAsync(page, Cancel, ("Address", Ip), ("Name", "mail.example.org")).ReadAsync(Cancel)).Page
            .ShouldContain("Being published");
        await hub.Db.ExecuteAsync(ReverseNameSql.Failed, new
        {
            Address = Ip,
            Name = "mail.example.org",
            now = hub.Now,
            next = hub.Now,
            problem = "update failed: REFUSED",
        }, Cancel);
        var failing = await owner.ReadAsync(page, Cancel);
        failing.ShouldContain("has not accepted the last change yet");
        failing.ShouldNotContain("REFUSED");
        await hub.Db.ExecuteAsync(
            ReverseNameSql.Published, new { Address = Ip, Name = "mail.example.org", next = hub.Now }, Cancel);
        (await owner.ReadAsync(page, Cancel)).ShouldContain("Published");
        (await owner.ReadAsync($"/vms/{id}", Cancel)).ShouldContain("mail.example.org");
        (await owner.PostAsync(page, Cancel, ("Address", Ip), ("Name", "")).ReadAsync(Cancel)).Page
            .ShouldContain("is being removed");
    }
}
