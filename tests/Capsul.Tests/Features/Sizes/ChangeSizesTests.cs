using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Sizes;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Sizes;

public sealed class ChangeSizesTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static ChangeSizes.Input Input(string name = "f2-s", string dollars = "8.50", string cpus = "2",
        string memory = "1024", string disk = "40") => new(name, dollars, cpus, memory, disk);

    [Fact]
    public void What_was_typed_is_read() => ChangeSizes.Decide(Input(" f2-s ", " 8.50 ", " 2 "), 2).OrThrow()
        .ShouldBe(new ChangeSizes.Plan("f2-s", 8.50m, 2, 1024, 40));

    [Theory]
    [InlineData("Name", "F2"), InlineData("Name", ""), InlineData("Name", "a b"), InlineData("Name", "f2\n")]
    [InlineData("Name", "a23456789012345678901234567890123"), InlineData("Name", "ü")]
    [InlineData("Name", "ipv4-address")]
    [InlineData("Dollars", "-1"), InlineData("Dollars", "8,5"), InlineData("Dollars", "8.505")]
    [InlineData("Dollars", ""), InlineData("Dollars", "100000"), InlineData("Dollars", "NaN")]
    [InlineData("Cpus", "0"), InlineData("Cpus", "257"), InlineData("Cpus", "1.5"), InlineData("Cpus", "-1")]
    [InlineData("Memory", "63"), InlineData("Memory", "99999999999"), InlineData("Memory", "4194305")]
    [InlineData("Disk", "0"), InlineData("Disk", "65537"), InlineData("Disk", ""), InlineData("Disk", "x")]
    public void What_is_wrong_is_said_beside_its_field(string field, string typed)
    {
        var input = field switch
        {
            "Name" => Input(name: typed),
            "Dollars" => Input(dollars: typed),
            "Cpus" => Input(cpus: typed),
            "Memory" => Input(memory: typed),
            _ => Input(disk: typed),
        };
        // A name is trimmed, and a line end in it is not a name.
        if (typed == "f2\n") ChangeSizes.Decide(input, 2).OrThrow().Id.ShouldBe("f2");
        else ChangeSizes.Decide(input, 2).Problem!.Field.ShouldBe(field);
    }

    [Fact]
    public async Task A_new_size_has_its_first_price_and_is_on_sale_until_it_is_retired()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await ChangeSizes.AddAsync(rows.Db, "test", Input(), rows.Settings, Cancel)).OrThrow();
        (await ChangeSizes.AddAsync(rows.Db, "test", Input(dollars: "1"), rows.Settings, Cancel)).Problem!.Field
            .ShouldBe("Name");
        (await rows.Db.AskAsync<string>("SELECT active_from AT TIME ZONE 'UTC' || ' ' || dollars_per_month FROM prices "
            + "WHERE size = 'f2-s'", null, Cancel)).ShouldBe("1970-01-01 00:00:00 8.50");
        var vm = await rows.NewVmAsync(Cancel, "f2-s");

        (await ChangeSizes.RetireAsync(rows.Db, "test", "f2-s", retired: true, Cancel)).OrThrow();
        (await ChangeSizes.RetireAsync(rows.Db, "test", "f2-s", retired: true, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
        (await rows.TryNewVmAsync(Cancel, "f2-s")).Problem!.Message.ShouldContain("no size called");
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("creating");
        (await rows.Db.ListAsync<SizeRow>(SizeSql.Offered, new { now = rows.Now, email = "" }, Cancel))
            .ShouldNotContain(s => s.Id == "f2-s");
        var line = (await rows.Db.ListAsync<SizeLineRow>(SizeSql.ListAll, new { now = rows.Now }, Cancel))
            .Single(s => s.Id == "f2-s");
        (line.Retired, line.Vms, line.DollarsPerMonth).ShouldBe((true, 1, 8.50m));

        (await ChangeSizes.RetireAsync(rows.Db, "test", "f2-s", retired: false, Cancel)).OrThrow();
        (await rows.TryNewVmAsync(Cancel, "f2-s")).Problem.ShouldBeNull();
    }

    [Fact]
    public async Task An_operator_adds_retires_and_offers_on_the_page()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", Sample.Email));
        await Sample.FillAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        (string, string)[] typed =
            [("Name", "f2-s"), ("Dollars", "8.50"), ("Cpus", "2"), ("Memory", "2048"), ("Disk", "x")];
        var refused = await visitor.PostAsync("/operator/sizes", Cancel, typed).ReadAsync(Cancel);
        refused.Status.ShouldBe(400);
        refused.Page.ShouldContain("href=\"#Disk\"");
        refused.Page.ShouldContain("value=\"f2-s\"");
        typed[^1] = ("Disk", "40");
        (await visitor.PostAsync("/operator/sizes", Cancel, typed).ReadAsync(Cancel)).Page
            .ShouldContain("f2-s is now on sale.");
        (await visitor.ReadAsync("/", Cancel)).ShouldContain("f2-s");
        await PostAsync("Retire", "f2-s is no longer on sale.");
        (await visitor.ReadAsync("/", Cancel)).ShouldNotContain("f2-s");
        await PostAsync("Offer", "f2-s is on sale again.");

        async Task PostAsync(string handler, string says)
        {
            using var answer = await visitor.PostAsync(
                "/operator/sizes", $"/operator/sizes?handler={handler}", Cancel, ("Id", "f2-s"));
            answer.StatusCode.ShouldBe(HttpStatusCode.OK);
            (await answer.Content.ReadAsStringAsync(Cancel)).ShouldContain(says);
        }
    }
}
