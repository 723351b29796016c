using Capsul.Foundation;
using Capsul.Hub.Features.AccountLimits;
using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Tests.Features.AccountLimits;

public sealed class AccountLimitTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task SetAsync(VmRows rows, string days, string paid, string most) => (await ChangeLimit.RunAsync(
        rows.Db, rows.Settings, "ops", new ChangeLimit.Input(days, paid, most), Cancel)).OrThrow();

    /// <summary>The account is as old as this, and as much was paid into it.</summary>
    static Task BeAsync(VmRows rows, int days) => rows.Db.ExecuteAsync(
        "UPDATE accounts SET created = @created", new { created = rows.Now.AddDays(-days) }, Cancel);

    [Theory]
    [InlineData("", "", "1", null), InlineData("30", "7.50", "5", null), InlineData("3650", "0", "10000", null)]
    [InlineData("-1", "", "1", "AfterDays"), InlineData("3651", "", "1", "AfterDays")]
    [InlineData("x", "", "1", "AfterDays"), InlineData("1", "7,50", "1", "Paid"), InlineData("1", "-1", "1", "Paid")]
    [InlineData("1", "1.005", "1", "Paid"), InlineData("1", "1", "", "MaxVms"), InlineData("1", "1", "-1", "MaxVms")]
    public void What_an_operator_types_is_checked(string days, string paid, string most, string? field) =>
        ChangeLimit.Decide(new ChangeLimit.Input(days, paid, most), 2).Problem?.Field.ShouldBe(field);

    [Fact]
    public async Task What_an_account_may_run_grows_with_its_age_and_payments()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await SetAsync(rows, "7", "", "1");
        await SetAsync(rows, "30", "100", "2");
        await SetAsync(rows, "30", "101", "9");
        await BeAsync(rows, 6);
        (await rows.TryNewVmAsync(Cancel)).Problem!.Message.ShouldContain("grows with its age and payments");
        await BeAsync(rows, 7);
        (await rows.TryNewVmAsync(Cancel)).OrThrow();
        (await rows.TryNewVmAsync(Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        await BeAsync(rows, 30);
        (await rows.TryNewVmAsync(Cancel)).OrThrow();
        (await rows.TryNewVmAsync(Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        // What an operator has set for an account comes before the lines.
        await rows.Db.ExecuteAsync("UPDATE accounts SET max_vms = 0", null, Cancel);
        (await rows.TryNewVmAsync(Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
    }

    [Fact]
    public async Task Of_64_who_create_at_once_as_many_as_may_succeed()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await SetAsync(rows, "", "", "2");
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => rows.TryNewVmAsync(Cancel)));
        outcomes.Count(o => o.Problem is null).ShouldBe(2);
        outcomes.Where(o => o.Problem is not null).Select(o => o.Problem!.Kind).Distinct()
            .ShouldBe([ProblemKind.Conflict]);
        (await rows.CountAsync("vms", "deleted IS NULL", Cancel)).ShouldBe(2);
    }

    [Fact]
    public async Task A_new_account_waits_until_an_operator_approves_it()
    {
        await using var hub = await WebHub.StartAsync(
            Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"), ("CAPSUL_APPROVE_ACCOUNTS", "on"));
        await Sample.FillAsync(hub, Cancel);
        using var jo = await hub.SignInAsync("jo@example.org", Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        (await hub.Db.ListAsync<string>("SELECT email FROM accounts WHERE waits IS NOT NULL", null, Cancel))
            .ShouldBe(["jo@example.org"], "neither an operator nor who was there before");
        await hub.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method) VALUES ('jo@example.org', 50, 'cash')", null, Cancel);
        await Sample.AddKeyAsync(hub, "jo@example.org", "k", Cancel);
        var key = await hub.Db.AskAsync<long>(
            "SELECT id FROM ssh_keys WHERE email = 'jo@example.org'", null, Cancel);
        Task<Outcome<string>> CreateAsync() => CreateVm.RunAsync(hub.Db, "jo@example.org",
            new CreateVm.Input("first", "f1-s", "alpine-3", [key]), hub.Services.GetRequiredService<Settings>(),
            hub.Time, Cancel);
        (await CreateAsync()).Problem!.Message.ShouldContain("has not been approved yet");
        (await jo.ReadAsync("/balance", Cancel)).ShouldContain("$50.00");
        (await ops.ReadAsync("/operator/new-accounts", Cancel)).ShouldContain("jo@example.org");
        (await ops.PostAsync("/operator/new-accounts", "/operator/new-accounts?handler=Approve", Cancel,
            ("Email", "jo@example.org")).ReadAsync(Cancel)).Page.ShouldContain("jo@example.org is approved.");
        (await hub.Db.AskAsync<long>("SELECT count(*) FROM mails WHERE recipient = 'jo@example.org' "
            + "AND subject LIKE '%is approved'", null, Cancel)).ShouldBe(1);
        (await CreateAsync()).OrThrow();
    }

    [Fact]
    public async Task An_operator_changes_the_lines_on_the_page()
    {
        const string Page = "/operator/new-accounts";
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        (await ops.PostAsync(Page, Cancel, ("AfterDays", "x"), ("MaxVms", "1")).ReadAsync(Cancel)).Page
            .ShouldContain("href=\"#AfterDays\"");
        (await ops.PostAsync(Page, Cancel, ("AfterDays", "7"), ("Paid", "12.5"), ("MaxVms", "3")).ReadAsync(Cancel))
            .Page.ShouldContain("$12.50");
        (await ops.PostAsync(Page, Page + "?handler=Remove", Cancel, ("AfterDays", "7"), ("Paid", "12.50"))
            .ReadAsync(Cancel)).Page.ShouldContain("The line is removed.");
        (await hub.Db.AskAsync<long>("SELECT count(*) FROM account_limits", null, Cancel)).ShouldBe(0);
    }
}
