using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Vms;

public sealed class CreateVmTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;
    static readonly SizeRow Size = new("f1-s", 30.44m, DateTime.UnixEpoch, 1, 1024, 25);
    static readonly ImageRow Image = new("tiny", "Tiny", "capsul", 1, 128, false);
    static readonly CreateVm.Input Input = new("web", "f1-s", "tiny", [1]);
    static readonly CreateVm.Facts Facts = new(Size, Image, 1, new BalanceRow(1m, 0m, 0m), 0, 10);

    [Fact]
    public void Accepts_valid_input() => CreateVm.Decide(Input, Facts).ShouldBeNull();

    [Theory]
    [InlineData("Web"), InlineData("-web"), InlineData("web-"),
        InlineData("a b"), InlineData("näme"), InlineData("a.b")]
    public void Refuses_invalid_host_names(string name) =>
        CreateVm.Decide(Input with { Name = name }, Facts)!.Kind.ShouldBe(ProblemKind.Invalid);

    [Fact]
    public void Refuses_a_name_that_is_too_long() =>
        CreateVm.Decide(Input with { Name = new string('a', 64) }, Facts)!.Kind.ShouldBe(ProblemKind.Invalid);

    [Fact]
    public void Refuses_without_a_key() =>
        CreateVm.Decide(Input with { KeyIds = [] }, Facts with { KeysFound = 0 })!.Message.ShouldContain(
            "at least one SSH key");

    [Fact]
    public void Refuses_somebody_elses_key() =>
        CreateVm.Decide(Input with { KeyIds = [1, 2] }, Facts)!.Message.ShouldContain("no longer exists");

    [Fact]
    public void Refuses_an_unknown_size() => CreateVm.Decide(
        Input with { Size = "f9" }, Facts with { Size = null })!.Message.ShouldBe("There is no size called “f9”.");

    [Fact]
    public void Refuses_an_unknown_image() => CreateVm.Decide(
        Input with { Image = "dos" }, Facts with { Image = null })!.Message.ShouldBe("There is no image called “dos”.");

    [Fact]
    public void Refuses_a_deprecated_image() => CreateVm.Decide(
        Input, Facts with { Image = Image with { Deprecated = true } })!.Message.ShouldContain("no longer offered");

    [Fact]
    public void Refuses_an_image_that_does_not_fit_the_size()
    {
        CreateVm.Decide(Input, Facts with { Image = Image with { MinDiskGb = 26 } })!.Message.ShouldContain(
            "disk of 26 GiB");
        CreateVm.Decide(Input, Facts with { Image = Image with { MinMemoryMb = 2048 } })!.Message.ShouldContain(
            "2 GiB of memory");
    }

    [Fact]
    public void Refuses_when_balance_is_below_one_day()
    {
        // 30.44 dollars a month are exactly one a day.
        CreateVm.Decide(Input, Facts with { Balance = new BalanceRow(0.99m, 0m, 0m) })!.Kind.ShouldBe(
            ProblemKind.InsufficientFunds);
        CreateVm.Decide(Input, Facts with { Balance = new BalanceRow(1m, 0m, 0m) }).ShouldBeNull();
        CreateVm.Decide(Input, Facts with { Balance = new BalanceRow(1.5m, 0m, 30.44m) })!.Message.ShouldContain(
            "one day of all your capsuls costs $2.00");
    }

    [Fact]
    public void Refuses_too_many() =>
        CreateVm.Decide(Input, Facts with { Alive = 10 })!.Kind.ShouldBe(ProblemKind.Conflict);

    [Fact]
    public async Task Refuses_when_no_host_has_capacity()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await rows.TryNewVmAsync(Cancel, "f1-xxl")).Problem!.Kind.ShouldBe(ProblemKind.NoCapacity);
    }

    [Fact]
    public async Task Refuses_a_name_in_use_until_its_vm_is_gone()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = (await rows.TryNewVmAsync(Cancel, name: "web")).OrThrow();
        (await rows.TryNewVmAsync(Cancel, name: "web")).Problem!.Message.ShouldBe(
            "You already have a capsul with that name.");
        await rows.Db.ExecuteAsync(
            "UPDATE vms SET deleted = now(), state = 'failed', wanted = 'gone' WHERE id = @vm", new { vm }, Cancel);
        (await rows.TryNewVmAsync(Cancel, name: "web")).Problem.ShouldBeNull();
    }

    [Fact]
    public async Task A_create_takes_eight_round_trips()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        using var sent = new SentStatements(hub);
        using var answer = await visitor.PostAsync(
            "/vms/new", Cancel, ("Size", "f1-s"), ("Image", "debian-12"), ("KeyIds", "1"));
        // Those of the form come before, those of the VM's page after.
        var names = sent.Names.ToList();
        var first = names.LastIndexOf("AccountSql.FindSession", names.IndexOf("OperationSql.Start"));
        names.Skip(first).TakeWhile((name, n) => n == 0 || name != "AccountSql.FindSession").ShouldBe(
        [
            "AccountSql.FindSession", "SshKeySql.LockAccount", "VmSql.LockAccount", "PlaceSql.SaveAndLockFree",
            "PlaceSql.Check", "HostSql.NextGeneration", "OperationSql.Start", "AuditSql.Insert",
        ]);
    }
}
