using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.PriceLevels;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Features.Billing;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.PriceLevels;

public sealed class PriceLevelTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<long> AddAsync(VmRows rows, string name, string percent) => (await ChangeLevels.AddAsync(
        rows.Db, "ops", new ChangeLevels.Input(name, percent), rows.Time, Cancel)).OrThrow();

    static Task<Outcome<int>> ChooseAsync(VmRows rows, long? level, string email = VmRows.Email) =>
        ChooseLevel.RunAsync(rows.Db, email, email, level, "", rows.Time, Cancel);

    static Task<int> LookAsync(VmRows rows) =>
        new PriceChanges(rows.Db, rows.Fence, rows.Time).LookAsync(rows.Epoch, Cancel);

    sealed record SpanRow(DateTime From, DateTime? To, decimal Dollars);

    static Task<IReadOnlyList<SpanRow>> SpansAsync(VmRows rows) => rows.Db.ListAsync<SpanRow>(
        "SELECT lower(span) AS from, upper(span) AS to, dollars_per_month AS dollars FROM usage_spans "
            + "ORDER BY vm, lower(span)", null, Cancel);

    static Task<long> AnnounceAsync(VmRows rows, decimal dollars, TimeSpan ahead) => rows.Db.AskAsync<long>(
        PriceSql.Add, new { size = "f1-xs", from = rows.Now + ahead, dollars, now = rows.Now }, Cancel);

    static async Task<decimal> StandardAsync(VmRows rows) => (await rows.Db.AskAsync<SizeRow>(
        SizeSql.Find, new { size = "f1-xs", now = rows.Now, email = "" }, Cancel)).DollarsPerMonth;

    /// <summary>All usage is posted, and everything agrees.</summary>
    static async Task AgreesAsync(VmRows rows)
    {
        (await rows.Db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();
        rows.Time.Advance(TimeSpan.FromHours(2));
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Theory]
    [InlineData("supported", "70", null), InlineData("solidary", " 130 % ", null), InlineData("", "70", "Name")]
    [InlineData("Standard", "70", "Name"), InlineData("x", "0", "Percent"), InlineData("x", "1001", "Percent")]
    [InlineData("x", "70.5", "Percent"), InlineData("x", "-5", "Percent"), InlineData("x", "", "Percent")]
    public void What_an_operator_types_is_checked(string name, string percent, string? field) =>
        ChangeLevels.Decide(new ChangeLevels.Input(name, percent)).Problem?.Field.ShouldBe(field);

    [Fact]
    public void What_can_be_chosen_is_offered_and_something_else()
    {
        var level = new PriceLevelRow(1, "supported", 70, default, null, 0);
        var facts = new ChooseLevel.Facts(true, true, level, new ChosenLevelRow(null, null, 100, 0), false);
        ChooseLevel.Decide(facts).ShouldBeNull();
        ChooseLevel.Decide(facts with { Exists = false })!.Kind.ShouldBe(ProblemKind.NotFound);
        ChooseLevel.Decide(facts with { Level = null })!.Field.ShouldBe("Level");
        ChooseLevel.Decide(facts with { Level = level with { Retired = default(DateTime) } })!.Field.ShouldBe("Level");
        ChooseLevel.Decide(facts with { IsBehind = true })!.Kind.ShouldBe(ProblemKind.Conflict);
        ChooseLevel.Decide(facts with { Now = new ChosenLevelRow(1, "supported", 70, 1) })!.Message
            .ShouldContain("already");
        ChooseLevel.Decide(facts with { IsAsked = false, Level = null })!.Message.ShouldContain("already");
        ChooseLevel.Decide(facts with { Now = new ChosenLevelRow(null, null, 100, ChooseLevel.MaxADay) })!.Kind
            .ShouldBe(ProblemKind.RateLimited);
    }

    [Fact]
    public async Task It_counts_from_now_on_and_time_before_keeps_its_price()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (low, high) = (await AddAsync(rows, "supported", "70"), await AddAsync(rows, "solidary", "133"));
        var standard = await StandardAsync(rows);
        var vm = await rows.RunningVmAsync(Cancel);
        var (began, before) = (rows.Now, await rows.FindAsync(vm, Cancel));
        rows.Time.Advance(TimeSpan.FromHours(2));
        (await ChooseAsync(rows, low)).OrThrow().ShouldBe(70);
        rows.Time.Advance(TimeSpan.FromHours(3));
        (await ChooseAsync(rows, high)).OrThrow().ShouldBe(133);
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await ChooseAsync(rows, null)).OrThrow().ShouldBe(100);
        (await SpansAsync(rows)).ShouldBe([
            new SpanRow(began, began.AddHours(2), standard),
            new SpanRow(began.AddHours(2), began.AddHours(5), PriceLevelRow.At(standard, 70)),
            new SpanRow(began.AddHours(5), began.AddHours(6), PriceLevelRow.At(standard, 133)),
            new SpanRow(began.AddHours(6), null, standard)]);
        var after = await rows.FindAsync(vm, Cancel);
        after.DollarsPerMonth.ShouldBe(standard);
        after.WantedGeneration.ShouldBeGreaterThan(before.WantedGeneration, "its recovery record says what it costs");
        (await rows.CountAsync("vms", "price_from IS NULL", Cancel)).ShouldBe(0, "none has a price of its own by that");
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task A_new_capsul_and_a_new_price_are_at_the_level()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var low = await AddAsync(rows, "supported", "70");
        (await ChooseAsync(rows, low)).OrThrow();
        var standard = await StandardAsync(rows);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).DollarsPerMonth.ShouldBe(PriceLevelRow.At(standard, 70));
        await AnnounceAsync(rows, 9.99m, TimeSpan.FromHours(1));
        (await rows.Db.ListAsync<PriceRow>(PriceSql.ComingForVm, new { id = vm, now = rows.Now }, Cancel)).Single()
            .DollarsPerMonth.ShouldBe(6.99m);
        rows.Time.Advance(TimeSpan.FromHours(2));
        // Between a price and its level nothing is chosen: the capsul does not have the price yet.
        (await ChooseAsync(rows, null)).Problem!.Message.ShouldContain("Prices are changing");
        (await LookAsync(rows)).ShouldBe(1);
        (await rows.FindAsync(vm, Cancel)).DollarsPerMonth.ShouldBe(6.99m);
        (await ChooseAsync(rows, null)).OrThrow();
        (await rows.FindAsync(vm, Cancel)).DollarsPerMonth.ShouldBe(9.99m);
        (await LookAsync(rows)).ShouldBe(0);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task A_price_that_was_agreed_for_a_capsul_stays()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var low = await AddAsync(rows, "supported", "70");
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE vms SET dollars_per_month = 3", null, Cancel);
        (await ChooseAsync(rows, low)).OrThrow();
        (await rows.FindAsync(vm, Cancel)).DollarsPerMonth.ShouldBe(3);
        (await SpansAsync(rows)).Count.ShouldBe(1);
    }

    [Fact]
    public async Task A_retired_level_is_kept_by_who_has_it_and_chosen_by_nobody()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var low = await AddAsync(rows, "supported", "70");
        (await ChooseAsync(rows, low)).OrThrow();
        (await ChangeLevels.RetireAsync(rows.Db, "ops", low, rows.Time, Cancel)).OrThrow().ShouldBe("supported");
        (await ChangeLevels.RetireAsync(rows.Db, "ops", low, rows.Time, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
        var size = await rows.Db.AskAsync<SizeRow>(
            SizeSql.Find, new { size = "f1-xs", now = rows.Now, email = VmRows.Email }, Cancel);
        size.PricePercent.ShouldBe(70);
        (await ChooseAsync(rows, null)).OrThrow();
        (await ChooseAsync(rows, low)).Problem!.Field.ShouldBe("Level");
        await AddAsync(rows, "Supported", "60");
        (await ChangeLevels.AddAsync(rows.Db, "ops", new ChangeLevels.Input("supported", "50"), rows.Time, Cancel))
            .Problem!.Field.ShouldBe("Name");
    }

    [Fact]
    public async Task Many_who_choose_create_and_change_prices_at_once_end_with_the_right_sums()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        long?[] levels = [await AddAsync(rows, "a", "70"), await AddAsync(rows, "b", "130"), null];
        await rows.RunningVmAsync(Cancel);
        await AnnounceAsync(rows, 8, TimeSpan.FromMinutes(1));
        rows.Time.Advance(TimeSpan.FromMinutes(1));
        var work = Enumerable.Range(0, 9).Select(n => (Task)ChooseAsync(rows, levels[n % 3]))
            .Append(LookAsync(rows)).Append(rows.TryNewVmAsync(Cancel)).Append(LookAsync(rows));
        await Task.WhenAll(work);
        await LookAsync(rows);
        rows.Time.Advance(TimeSpan.FromMinutes(1));
        var percent = await rows.Db.AskAsync<int>("SELECT price_percent(@Email)", new { VmRows.Email }, Cancel);
        (await rows.Db.ListAsync<decimal>("SELECT DISTINCT dollars_per_month FROM vms", null, Cancel))
            .ShouldBe([PriceLevelRow.At(8, percent)]);
        (await rows.Db.ListAsync<decimal>(
            "SELECT DISTINCT dollars_per_month FROM usage_spans WHERE upper_inf(span)", null, Cancel))
            .ShouldBe([PriceLevelRow.At(8, percent)]);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Nobody_cuts_what_is_charged_without_end()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var low = await AddAsync(rows, "supported", "70");
        for (var n = 0; n < ChooseLevel.MaxADay; n++) (await ChooseAsync(rows, n % 2 == 0 ? low : null)).OrThrow();
        (await ChooseAsync(rows, low)).Problem!.Kind.ShouldBe(ProblemKind.RateLimited);
        rows.Time.Advance(TimeSpan.FromDays(1));
        (await ChooseAsync(rows, low)).OrThrow();
    }

    [Fact]
    public async Task A_level_and_a_choice_stay_what_they_are_whoever_tries()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var low = await AddAsync(rows, "supported", "70");
        (await ChooseAsync(rows, low)).OrThrow();
        await rows.Db.ExecuteAsync("UPDATE price_levels SET retired = now()", null, Cancel);
        foreach (var sql in (string[])["UPDATE price_levels SET percent = 1", "UPDATE price_levels SET retired = NULL",
            "DELETE FROM price_levels", "DELETE FROM level_choices", "UPDATE level_choices SET level = NULL",
            "INSERT INTO level_choices (email, level, chosen) SELECT email, level, now() FROM level_choices",
            "INSERT INTO price_levels (name, percent, created) VALUES ('x', 0, now())"])
            (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel), sql))
                .SqlState.ShouldBe(PostgresErrorCodes.CheckViolation);
    }

    [Fact]
    public async Task People_choose_on_the_page_and_see_their_prices()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        using var stranger = hub.Visit();
        (await ada.ReadAsync("/balance", Cancel)).ShouldNotContain("standard price");
        (await stranger.ReadAsync("/", Cancel)).ShouldNotContain("You choose what you pay");
        using (var none = await ada.GetAsync("/balance/level", Cancel)) ((int)none.StatusCode).ShouldBe(404);
        (await ops.PostAsync("/operator/price-levels", Cancel, ("Name", "x"), ("Percent", "0")).ReadAsync(Cancel)).Page
            .ShouldContain("href=\"#Percent\"");
        (await ops.PostAsync("/operator/price-levels", Cancel, ("Name", "supported"), ("Percent", "50"))
            .ReadAsync(Cancel)).Page.ShouldContain("supported is now offered.");
        (await stranger.ReadAsync("/", Cancel)).ShouldContain("50% of them (supported)");
        (await ada.PostAsync("/balance/level", Cancel).ReadAsync(Cancel)).Page.ShouldContain("href=\"#Level\"");
        (await ada.PostAsync("/balance/level", Cancel, ("Level", "1")).ReadAsync(Cancel)).Page
            .ShouldContain("From now on you pay 50% of the standard price.");
        var standard = await hub.Db.AskAsync<SizeRow>(
            SizeSql.Find, new { size = "f1-s", now = hub.Now, email = "" }, Cancel);
        var mine = Capsul.Hub.Web.Show.Dollars(PriceLevelRow.At(standard.DollarsPerMonth, 50));
        (await ada.ReadAsync("/", Cancel)).ShouldContain($"<strong>{mine}</strong>");
        (await ada.ReadAsync("/vms/new", Cancel)).ShouldContain($"<strong>{mine}</strong>");
        (await stranger.ReadAsync("/", Cancel)).ShouldContain(
            $"<strong>{Capsul.Hub.Web.Show.Dollars(standard.DollarsPerMonth)}</strong>");
    }
}
