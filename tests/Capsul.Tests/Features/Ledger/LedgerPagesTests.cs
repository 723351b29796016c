using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Ledger;

public sealed class LedgerPagesTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<WebHub> StartAsync(params (string, string?)[] settings)
    {
        var hub = await WebHub.StartAsync(Cancel, settings);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await Sample.FillLedgerAsync(hub, Cancel);
        return hub;
    }

    [Fact]
    public async Task The_public_page_has_sums_and_nothing_personal()
    {
        await using var hub = await StartAsync(("CAPSUL_PUBLIC_LEDGER", "on"));
        using var stranger = hub.Visit();
        var page = await stranger.ReadAsync("/ledger", Cancel);
        page.ShouldContain("Everything adds up.");
        page.ShouldContain("1 Mar 2026, 12:00 UTC");
        page.ShouldContain("−$38.35");
        page.ShouldNotContain("@example.org");
    }

    [Fact]
    public async Task Unless_it_is_public_only_operators_find_it()
    {
        await using var hub = await StartAsync(("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        using var stranger = hub.Visit();
        (await stranger.GetAsync("/ledger", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        (await owner.GetAsync("/ledger", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        using var operators = await hub.SignInAsync("ops@example.org", Cancel);
        (await operators.ReadAsync("/ledger", Cancel)).ShouldContain("Everything adds up.");
        (await operators.ReadAsync("/operator/ledger?q=lovelace", Cancel)).ShouldContain(Sample.Email);
        var account = await operators.ReadAsync("/operator/ledger/1000?hour=1772323200", Cancel);
        account.ShouldContain("payment 1, cash");
        account.ShouldContain("23:00:00");
        account.ShouldContain("$0.010266");
        (await operators.GetAsync("/operator/ledger/4711", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
    }

    [Fact]
    public async Task A_line_of_the_statement_leads_to_the_time_and_the_operations_behind_it()
    {
        await using var hub = await StartAsync();
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        (await owner.ReadAsync("/balance", Cancel)).ShouldContain("/balance/statement?day=2026-02-28#behind");
        var page = await owner.ReadAsync("/balance/statement?day=2026-03-01", Cancel);
        page.ShouldContain("$38.35");
        page.ShouldContain("Charged time, 1 Mar 2026");
        page.ShouldContain("still running");
        page.ShouldContain("/vms/capsul-creating00/operations/1");
        page.ShouldContain("newcomer");
        foreach (var odd in (string[])["day=x", "day=9999-12-31", "day=0001-01-01", "after=-5", "after=x",
            "day=2026-13-41"])
            (await owner.GetAsync($"/balance/statement?{odd}", Cancel).ReadAsync(Cancel)).Status.ShouldBe(200, odd);

        using var eve = await hub.SignInAsync("eve@example.org", Cancel);
        var others = await eve.ReadAsync("/balance/statement?day=2026-03-01", Cancel);
        others.ShouldContain("Nothing has been posted yet.");
        others.ShouldNotContain("engine");
    }
}
