using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Addresses;

/// <summary>Further addresses on pages, and on the command line.</summary>
public sealed class AddressPagesTests
{
    const string Id = "capsul-running000", Page = $"/vms/{Id}/addresses";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<WebHub> StartAsync()
    {
        var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        return hub;
    }

    static Task<int> MakePublicAsync(WebHub hub) => hub.Db.ExecuteAsync("""
        UPDATE addresses SET address = '203.0.113.0'::inet + (address - '10.77.0.0'::inet), address6 = NULL;
        UPDATE pools SET network = '203.0.113.0/24', gateway = '203.0.113.1', first = '203.0.113.2',
            last = '203.0.113.40' WHERE family = 4;
        UPDATE hosts SET gives_more_addresses = TRUE
        """, null, Cancel);

    [Fact]
    public async Task The_owner_of_a_vm_sees_the_price_orders_an_address_and_gives_it_back()
    {
        await using var hub = await StartAsync();
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        var own = await owner.ReadAsync(Page, Cancel);
        own.ShouldContain("are private (10.77.0.0/24)");
        own.ShouldNotContain("Order an address");
        (await owner.ReadAsync($"/vms/{Id}", Cancel)).ShouldNotContain("id=\"addresses\"");
        await MakePublicAsync(hub);
        (await owner.ReadAsync(Page, Cancel)).ShouldContain("not offered here");
        (await owner.ReadAsync("/", Cancel)).ShouldNotContain("further public IPv4");

        (await SetAsync("2", "")).ShouldContain("ipv4-address costs $2.00 a month");
        (await owner.ReadAsync("/", Cancel)).ShouldContain("A further public IPv4 address for a capsul: $2.00 a month");
        (await owner.ReadAsync(Page, Cancel)).ShouldContain("Order an address for $2.00/month");
        (await owner.PostAsync(Page, Cancel, ("Price", "1.00")).ReadAsync(Cancel)).Page
            .ShouldContain("The price has changed");
        (await owner.PostAsync(Page, Cancel, ("Price", "nothing")).ReadAsync(Cancel)).Page
            .ShouldContain("The price has changed");
        var ordered = (await owner.PostAsync(Page, Cancel, ("Price", "2.00")).ReadAsync(Cancel)).Page;
        var address = await hub.Db.AskAsync<string>(
            "SELECT host(address) FROM addresses WHERE extra IS NOT NULL", null, Cancel);
        ordered.ShouldContain($"{address} is yours.");
        ordered.ShouldContain($"sudo ip address add {address}/32 dev");
        var vm = await owner.ReadAsync($"/vms/{Id}", Cancel);
        vm.ShouldContain(address);
        vm.ShouldContain("and $2.00/month for further addresses");
        (await owner.ReadAsync("/balance", Cancel)).ShouldContain("$9.50");

        (await owner.PostAsync(Page, $"{Page}?handler=Return", Cancel, ("Address", "203.0.113.2"))).StatusCode
            .ShouldBe(HttpStatusCode.NotFound, "the first address is not given back");
        (await owner.PostAsync(Page, $"{Page}?handler=Return", Cancel, ("Address", address)).ReadAsync(Cancel)).Page
            .ShouldContain($"{address} is given back.");
        (await owner.ReadAsync($"/vms/{Id}", Cancel)).ShouldNotContain("Further IPv4");
        // A rise is announced a week ahead to those who have one.
        await owner.PostAsync(Page, Cancel, ("Price", "2.00"));
        hub.Time.Advance(TimeSpan.FromMinutes(1));
        (await SetAsync("3", "")).ShouldContain("1 further address is in use");
        (await SetAsync("3", hub.Now.AddDays(20).ToString("yyyy-MM-dd")))
            .ShouldContain("1 account is emailed");
        var mail = await hub.Db.AskAsync<string>(
            "SELECT subject || E'\\n' || body FROM mails WHERE subject LIKE '%costs%'", null, Cancel);
        mail.ShouldContain(", a further IPv4 address at Capsul costs $3.00 a month");
        mail.ShouldContain("You have 1 further IPv4 address at Capsul. Each costs $2.00 a month now.");
        mail.ShouldContain("give the address back");
        (await owner.ReadAsync(Page, Cancel)).ShouldContain("$3.00/month from");

        async Task<string> SetAsync(string dollars, string from) => (await ops.PostAsync(
            "/operator/prices", "/operator/prices?handler=Set", Cancel, ("Size", Prices.FurtherAddress),
            ("Dollars", dollars), ("From", from)).ReadAsync(Cancel)).Page;
    }

    [Fact]
    public async Task A_stranger_orders_and_returns_nothing()
    {
        await using var hub = await StartAsync();
        await MakePublicAsync(hub);
        using var stranger = await hub.SignInAsync("eve@example.org", Cancel);
        foreach (var path in (string[])[Page, $"{Page}?handler=Return"])
            (await stranger.PostAsync("/keys", path, Cancel, ("Price", "2.00"), ("Address", "203.0.113.2"))).StatusCode
                .ShouldBe(HttpStatusCode.NotFound);
        (await hub.Db.AskAsync<long>("SELECT count(*) FROM vm_extras", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task An_operator_lists_adds_and_removes_addresses_on_the_command_line()
    {
        var (rows, id) = await AddressRows.MakeAsync();
        await using var _ = rows;
        var environment = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("cli"),
            ["CAPSUL_DATABASE"] = rows.ConnectionString,
        };
        (await RunAsync("price", "set", "ipv4-address", "1.5")).Output
            .ShouldContain("ipv4-address costs $1.50 a month");
        var added = (await RunAsync("vm", "address", "add", id)).Output;
        added.ShouldContain("for $1.50 a month. Inside it:\n  sudo ip address add 203.0.113.");
        var address = added.Split(' ')[2].TrimEnd(',');
        (await RunAsync("vm", "address", "list", id)).Output.ShouldContain(address);
        (await RunAsync("vm", "address", "remove", id, address)).Output.ShouldContain($"no longer has {address}.");
        (await RunAsync("vm", "address", "remove", id, address)).ExitCode.ShouldNotBe(0);
        (await RunAsync("vm", "address", "list", id)).Output.ShouldNotContain(address);

        Task<CommandResult> RunAsync(params string[] arguments) =>
            CapsulProgram.RunAsync(environment, Cancel, arguments);
    }
}
