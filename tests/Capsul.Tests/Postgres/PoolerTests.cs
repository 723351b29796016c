using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Statements;
using Capsul.Tests.Support;

namespace Capsul.Tests.Postgres;

public sealed class PoolerTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_direct_connection_is_no_pooler()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await Pooler.FindAsync(database.Db, Cancel)).ShouldBeNull();
    }

    [Theory, InlineData("transaction"), InlineData("session")]
    public async Task PgBouncer_is_refused_in_transaction_mode_and_welcome_in_session_mode(string mode)
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var bouncer = await Bouncer.StartAsync(database, mode);
        await using var db = new Db(bouncer.ConnectionString);
        var problem = await Pooler.FindAsync(db, Cancel);
        if (mode == "session") problem.ShouldBeNull();
        else problem.ShouldNotBeNull().Message.ShouldContain("a pooler in transaction mode");
    }

    [Theory, InlineData("transaction"), InlineData("session")]
    public async Task Sql_by_hand_leaves_nothing_on_a_connection_that_others_share(string mode)
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var bouncer = await Bouncer.StartAsync(database, mode);
        await using var db = new Db(bouncer.ConnectionString);
        var open = StatementRun.OpenAsync(db,
            RowOutput.Make(RowFormat.Text, header: false, Stream.Null, TextWriter.Null), TextWriter.Null, Stream.Null,
            new RunOptions("me", ReadOnly: true, TimeSpan.FromSeconds(5)), Cancel);
        if (mode == "session") await (await open).DisposeAsync();
        else (await Should.ThrowAsync<ProblemException>(() => open)).Message.ShouldContain(
            "a pooler in transaction mode");
        await using var next = await db.OpenAloneAsync("next", Cancel);
        foreach (var (setting, value) in new[] { ("statement_timeout", "0"), ("default_transaction_read_only", "off") })
        {
            await using var ask = new Npgsql.NpgsqlCommand($"SHOW {setting}", next);
            (await ask.ExecuteScalarAsync(Cancel)).ShouldBe(value);
        }
    }

    [Fact]
    public async Task A_hub_behind_it_says_so_in_one_sentence_and_ends()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var bouncer = await Bouncer.StartAsync(database, "transaction");
        var ended = await CapsulProgram.RunAsync(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("behind"),
            ["CAPSUL_DATABASE"] = bouncer.ConnectionString,
            ["CAPSUL_PORT"] = "0",
            ["CAPSUL_LINK_PORT"] = "0",
        }, Cancel, "up", "--hub");
        ended.ExitCode.ShouldBe(64);
        ended.Error.Trim().ShouldStartWith("capsul: The database is reached through a pooler in transaction mode");
        ended.Error.Trim().ShouldNotContain("\n");
    }
}
