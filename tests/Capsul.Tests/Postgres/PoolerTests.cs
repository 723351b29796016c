using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Statements;
using Capsul.Tests.Support;

namespace Capsul.Tests.Postgres;

public sealed class PoolerTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_direct_connection_is_not_a_pooler()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await Pooler.FindAsync(database.Db, Cancel)).ShouldBeNull();
    }

    [Theory, InlineData("transaction"), InlineData("session")]
    public async Task PgBouncer_is_refused_in_transaction_mode_and_accepted_in_session_mode(string mode)
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var bouncer = await Bouncer.StartAsync(database, mode);
        await using var db = new Db(bouncer.ConnectionString);
        var problem = await Pooler.FindAsync(db, Cancel);
        if (mode == "session") problem.ShouldBeNull();
        else problem.ShouldNotBeNull().Message.ShouldContain("a pooler in transaction mode");
    }

    [Theory, InlineData("transaction"), InlineData("session")]
    public async Task Manual_sql_leaves_nothing_on_a_shared_connection(string mode)
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
    public async Task A_hub_behind_it_exits_with_one_sentence()
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
