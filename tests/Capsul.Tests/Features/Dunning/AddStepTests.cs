using Capsul.Foundation;
using Capsul.Hub.Features.Dunning;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.Dunning;

public sealed class AddStepTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly DunningTable Table = DecideDunningTests.Table;

    static AddStep.Input Mail(
        string? behind = "3", string? template = null, string? runway = "0", string? after = "24") =>
        new(behind, "mail", template, runway, after);

    [Theory]
    [InlineData("0", 1, "6 5 4 3 2 1"), InlineData("3", 4, "6 5 4"), InlineData("6", 7, ""), InlineData("", 7, "")]
    [InlineData(" 5 ", 6, "6")]
    public void Those_behind_it_get_the_next_number(string behind, int number, string moved)
    {
        var plan = AddStep.Decide(Mail(behind), Table).OrThrow();
        ((int)plan.Step.Step, string.Join(' ', plan.MoveUp)).ShouldBe((number, moved));
    }

    [Fact]
    public void A_number_that_is_free_is_taken_and_nothing_moves_further()
    {
        var gap = new DunningTable([.. Table.Steps.Where(s => s.Step is not (4 or 6))]);
        AddStep.Decide(Mail("3"), gap).OrThrow().MoveUp.ShouldBeEmpty();
        AddStep.Decide(Mail("2"), gap).OrThrow().MoveUp.ShouldBe([(short)3]);
        AddStep.Decide(Mail("4"), gap).Problem!.Field.ShouldBe("Behind");
    }

    [Theory]
    [InlineData("7"), InlineData("-1"), InlineData("x"), InlineData("99999999999")]
    public void It_comes_after_a_step_that_there_is(string behind) =>
        AddStep.Decide(Mail(behind), Table).Problem!.Field.ShouldBe("Behind");

    [Theory]
    [InlineData(null, "24", "low_balance"), InlineData(null, "0", "used_up"), InlineData("low_balance", "0",
        "low_balance")]
    [InlineData("last_notice", "0", "last_notice"), InlineData("used_up", "1", null), InlineData("deleted", "0", null)]
    [InlineData("stopped", "0", null), InlineData("../x", "0", null)]
    public void An_email_says_what_is_true_then(string? template, string runway, string? expected)
    {
        var outcome = AddStep.Decide(Mail(template: template, runway: runway), Table);
        outcome.Value?.Step.Template.ShouldBe(expected);
        outcome.Problem?.Field.ShouldBe("Template");
        (outcome.Problem is null).ShouldBe(expected is not null);
    }

    [Fact]
    public void What_makes_no_sense_is_refused_by_its_field()
    {
        AddStep.Decide(new AddStep.Input("3", "explode", null, "0", "0"), Table).Problem!.Field.ShouldBe("Action");
        AddStep.Decide(Mail(runway: "x"), Table).Problem!.Field.ShouldBe("Runway");
        AddStep.Decide(Mail(after: "8761"), Table).Problem!.Field.ShouldBe("After");
        var full = new DunningTable([.. Enumerable.Range(1, 20).Select(n =>
            new DunningStepRow((short)n, "mail", "used_up", 0, 0))]);
        AddStep.Decide(Mail(), full).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        var squeezed = new DunningTable([new(20, "mail", "used_up", 0, 0)]);
        AddStep.Decide(Mail("20"), squeezed).Problem!.Message.ShouldContain("further up");
        AddStep.Decide(Mail("0"), squeezed).OrThrow().Step.Step.ShouldBe((short)1);
    }

    /// <summary>An account at each step.</summary>
    static Task FillAsync(Db db) => db.ExecuteAsync("""
        INSERT INTO accounts (email) SELECT 'at' || n || '@example.org' FROM generate_series(0, 6) AS n;
        INSERT INTO dunning (email, step, taken, told)
        SELECT 'at' || n || '@example.org', n, now(), CASE WHEN n <> 1 THEN 7 END FROM generate_series(0, 6) AS n;
        UPDATE dunning_clock SET seconds = 99;
        """, null, Cancel);

    static async Task<string> PlacesAsync(Db db) => string.Join(' ', await db.ListAsync<string>(
        "SELECT step || CASE WHEN told IS NULL THEN '?' WHEN told = 99 THEN '!' ELSE '' END FROM dunning "
            + "ORDER BY email", null, Cancel));

    static async Task<string> TableAsync(Db db) => string.Join(' ', (await db.ListAsync<DunningStepRow>(
        DunningSql.Steps, null, Cancel)).Select(s => $"{s.Step}{s.Action[0]}"));

    [Fact]
    public async Task Accounts_stay_at_what_they_have_taken()
    {
        await using var database = await TestDatabase.CreateAsync();
        var db = database.Db;
        await FillAsync(db);
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 4 5 6");
        (await AddStep.RunAsync(db, "test", Mail("3"), Cancel)).OrThrow().ShouldBe(4);
        (await TableAsync(db)).ShouldBe("1m 2m 3m 4m 5s 6m 7d");
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 5 6 7", "nobody has taken the new one");
        (await ChangeStep.RemoveAsync(db, "test", 1, Cancel)).OrThrow();
        (await PlacesAsync(db)).ShouldBe("0 0! 2 3 5 6 7", "they were on none, as of now");
        // What takes its number again was taken by nobody.
        (await AddStep.RunAsync(db, "test", Mail("5", "last_notice"), Cancel)).OrThrow().ShouldBe(6);
        (await AddStep.RunAsync(db, "test", new AddStep.Input("0", "mail", null, "200", null), Cancel))
            .OrThrow().ShouldBe(1);
        (await TableAsync(db)).ShouldBe("1m 2m 3m 4m 5s 6m 7m 8d");
        (await PlacesAsync(db)).ShouldBe("0 0! 2 3 5 7 8");
    }

    /// <summary>
    /// Whoever is right before a deletion that comes sooner gets the email of their step again, with the new time.
    /// </summary>
    [Fact]
    public async Task Nobody_is_stopped_or_deleted_sooner_than_their_email_says()
    {
        await using var database = await TestDatabase.CreateAsync();
        var db = database.Db;
        await FillAsync(db);
        (await ChangeStep.RemoveAsync(db, "test", 5, Cancel)).Problem!.Message.ShouldContain("they have more time");
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 4 5 6", "the stop is no mere email");
        (await ChangeStep.RunAsync(db, "test", 6, null, "100", Cancel)).OrThrow();
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 4 5 6", "it comes later");
        (await ChangeStep.RunAsync(db, "test", 6, null, "24", Cancel)).OrThrow();
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 4 4 6", "the last notice is sent again");
        (await ChangeStep.RunAsync(db, "test", 4, null, "24", Cancel)).OrThrow();
        (await PlacesAsync(db)).ShouldBe("0 1? 2 2 4 4 6");

        (await ChangeStep.RemoveAsync(db, "test", 6, Cancel)).OrThrow();
        await db.ExecuteAsync("UPDATE dunning SET step = 5 WHERE email = 'at5@example.org'", null, Cancel);
        (await AddStep.RunAsync(db, "test", new AddStep.Input(null, "delete", null, null, "24"), Cancel)).OrThrow();
        (await TableAsync(db)).ShouldBe("1m 2m 3m 4s 5m 6d");
        (await PlacesAsync(db)).ShouldBe("0 1? 2 2 4 4 4", "nobody was told of a deletion");
        // A notice that goes behind the stop takes nobody past it.
        await db.ExecuteAsync("""
            UPDATE dunning SET step = 3 WHERE email IN ('at2@example.org', 'at3@example.org');
            UPDATE dunning_steps SET step = 8 WHERE step = 6;
            UPDATE dunning_steps SET step = 7 WHERE step = 3;
            INSERT INTO dunning_steps VALUES (3, 'mail', 'used_up', 0, 0);
            """, null, Cancel);
        (await PlacesAsync(db)).ShouldBe("0 1? 1 1 4 4 4");
    }

    [Fact]
    public async Task A_deletion_is_not_added_right_behind_a_stop_at_which_accounts_are()
    {
        await using var database = await TestDatabase.CreateAsync();
        var db = database.Db;
        await FillAsync(db);
        await db.ExecuteAsync("DELETE FROM dunning_steps WHERE step = 6; DELETE FROM dunning_steps WHERE step = 5",
            null, Cancel);
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 4 4 4");
        var delete = new AddStep.Input(null, "delete", null, null, "72");
        (await AddStep.RunAsync(db, "test", delete, Cancel)).Problem!.Message.ShouldContain("they have more time");
        (await AddStep.RunAsync(db, "test", Mail(null, "last_notice"), Cancel)).OrThrow();
        (await AddStep.RunAsync(db, "test", delete, Cancel)).OrThrow();
        (await TableAsync(db)).ShouldBe("1m 2m 3m 4s 5m 6d");
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 4 4 4");
    }

    [Fact]
    public async Task Nobody_is_past_a_step_that_stops_without_having_been_told_of_it()
    {
        await using var database = await TestDatabase.CreateAsync();
        var db = database.Db;
        await FillAsync(db);
        (await ChangeStep.RemoveAsync(db, "test", 4, Cancel)).OrThrow();
        (await PlacesAsync(db)).ShouldBe("0 1? 2 3 3 5 6");
        (await AddStep.RunAsync(db, "test", new AddStep.Input("3", "stop", null, null, "24"), Cancel)).OrThrow();
        (await TableAsync(db)).ShouldBe("1m 2m 3m 4s 5m 6d");
        (await PlacesAsync(db)).ShouldBe(
            "0 1? 2 2 2 2 6", "they are told of it before; but not those whose VMs are gone");
        // A second one, for those whose VMs are stopped already; also by hand, and moved to before others.
        await db.ExecuteAsync("UPDATE dunning SET step = 5 WHERE email = 'at5@example.org'", null, Cancel);
        (await AddStep.RunAsync(db, "test", new AddStep.Input("4", "stop", null, null, "24"), Cancel)).OrThrow();
        (await PlacesAsync(db)).ShouldBe("0 1? 2 2 2 6 7");
        await db.ExecuteAsync("DELETE FROM dunning_steps WHERE step IN (4, 5)", null, Cancel);
        (await PlacesAsync(db)).ShouldBe("0 1? 2 2 2 6 7");
        await db.ExecuteAsync("""
            INSERT INTO dunning_steps VALUES (9, 'mail', 'used_up', 0, 24);
            DELETE FROM dunning_steps WHERE action = 'delete';
            INSERT INTO dunning_steps VALUES (10, 'stop', 'stopped', 0, 24);
            """, null, Cancel);
        (await PlacesAsync(db)).ShouldBe("0 1? 2 2 2 6 6");
        await db.ExecuteAsync("UPDATE dunning_steps SET step = 4 WHERE step = 10", null, Cancel);
        (await PlacesAsync(db)).ShouldBe("0 1? 2 2 2 2 2");
    }

    [Theory]
    [InlineData("2", "stop", "0", "24", "an email is sent when nothing is left")]
    [InlineData("3", "delete", "0", "24", "Nothing comes after")]
    [InlineData("0", "delete", "0", "24", "not taken with more time left")]
    [InlineData("6", "mail", "0", "24", "Nothing comes after")]
    [InlineData("3", "stop", "0", "23", "at least 24 hours")]
    [InlineData("3", "stop", "1", "24", "only when nothing is left")]
    [InlineData("3", "mail", "5", "24", "not taken with more time left")]
    public async Task No_step_acts_without_a_notice_or_out_of_turn(
        string behind, string action, string runway, string after, string says)
    {
        await using var database = await TestDatabase.CreateAsync();
        await FillAsync(database.Db);
        var before = (await TableAsync(database.Db), await PlacesAsync(database.Db));
        (await AddStep.RunAsync(database.Db, "test", new AddStep.Input(behind, action, null, runway, after), Cancel))
            .Problem!.Message.ShouldContain(says);
        (await TableAsync(database.Db), await PlacesAsync(database.Db)).ShouldBe(before);
    }

    [Fact]
    public async Task What_a_step_does_stays_also_by_hand()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await Should.ThrowAsync<PostgresException>(() => database.Db.ExecuteAsync(
            "UPDATE dunning_steps SET action = 'delete' WHERE step = 4", null, Cancel)))
            .ConstraintName.ShouldBe("dunning_steps_action_stays");
        await database.Db.ExecuteAsync(
            "UPDATE dunning_steps SET action = 'stop', after_hours = 25 WHERE step = 4", null, Cancel);
    }

    const string WaitingSql = """
        SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
        """;

    /// <summary>Whoever decides by the numbers of steps and whoever changes them wait for each other.</summary>
    [Fact]
    public async Task A_change_waits_for_a_decision_and_a_decision_sees_the_change()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            UPDATE payments SET invalidated = TRUE;
            UPDATE vms SET state = 'stopped', wanted = 'off', observed = 'off';
            INSERT INTO dunning (email, step, taken, told) VALUES (@email, 5, @now, 0);
            """, new { email = VmRows.Email, now = rows.Now }, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await using var connection = await rows.Db.OpenAsync(Cancel);
        await using var change = await connection.BeginTransactionAsync(Cancel);
        await change.AskAsync<string>(DunningPageSql.LockSteps, null, Cancel);
        foreach (var step in (short[])[6, 5, 4])
            await change.ExecuteAsync(DunningPageSql.MoveUp, new { step }, Cancel);
        await change.ExecuteAsync(
            DunningPageSql.Add, new { step = (short)4, action = "mail", template = "used_up", runway = 0, after = 1 },
            Cancel);
        // By the old numbers the account would be at the step that deletes.
        var deletion = rows.Fence.InTransactionAsync(rows.Epoch, transaction => TakeStep.DeleteAsync(
            transaction, new DunnedVmRow(vm, VmRows.Email), rows.Settings, rows.Time, Cancel), Cancel);
        await Until.TrueAsync("the deletion waits for the change", TimeSpan.FromSeconds(30), () =>
            rows.Db.FindAsync<bool>(WaitingSql, null, Cancel));
        await change.CommitAsync(Cancel);
        (await deletion).ShouldBeFalse();
        (await rows.Db.AskAsync<int>("SELECT step::integer FROM dunning", null, Cancel)).ShouldBe(6);

        await using var decision = await connection.BeginTransactionAsync(Cancel);
        await decision.AskAsync<string>(DunningSql.KeepSteps, null, Cancel);
        var adding = AddStep.RunAsync(rows.Db, "test", Mail("1", runway: "48"), Cancel);
        await Until.TrueAsync("the change waits for the decision", TimeSpan.FromSeconds(30), () =>
            rows.Db.FindAsync<bool>(WaitingSql, null, Cancel));
        await decision.RollbackAsync(Cancel);
        (await adding).OrThrow().ShouldBe(2);
    }
}
