using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary>Runs <c>capsul db</c> as a person does.</summary>
public sealed class DbVerbTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Task<CommandResult> RunAsync(TestDatabase database, params string[] arguments) => CapsulProgram.RunAsync(
        new Dictionary<string, string>
        {
            ["CAPSUL_DATA"] = TestFolder.Make("db"),
            ["CAPSUL_DATABASE"] = database.ConnectionString,
        }, Cancel, ["db", .. arguments]);

    [Fact]
    public async Task Ten_processes_started_together_on_an_empty_database_all_start()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var results = await Task.WhenAll(Enumerable.Range(0, 10).Select(_ => RunAsync(database, "migrate")));
        results.ShouldAllBe(r => r.ExitCode == 0, string.Join('\n', results.Select(r => r.Error)));
        results.Count(r => r.Output.Contains($"{Migrator.DesiredVersion} scripts ran", StringComparison.Ordinal))
            .ShouldBe(1);
    }

    [Fact]
    public async Task Status_changes_nothing_and_lists_pending_scripts()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var result = await RunAsync(database, "status");
        result.ExitCode.ShouldBe(0, result.Error);
        result.Output.ShouldMatch(@"1 +01_up_foundations\.sql +pending");
        result.Output.ShouldContain("The database is at version 0");
        (await database.Db.FindAsync<int>(
            "SELECT count(*)::integer FROM pg_tables WHERE schemaname = 'public'", null, Cancel)).ShouldBe(0);
        (await RunAsync(database, "verify")).ExitCode.ShouldBe(66);
        await RunAsync(database, "migrate");
        (await RunAsync(database, "status"))
            .Output.ShouldMatch(@"1 +01_up_foundations\.sql +applied +\d{4}-.* ms +capsul ");
    }

    [Fact]
    public async Task Verify_exits_with_1_if_there_is_drift()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await RunAsync(database, "verify")).ExitCode.ShouldBe(0);
        await database.Db.ExecuteAsync("ALTER TABLE vms ALTER COLUMN phase SET DEFAULT 7", null, Cancel);
        var result = await RunAsync(database, "verify");
        result.ExitCode.ShouldBe(1);
        result.Output.ShouldContain("changed  column public.vms.phase\n         golden: integer NOT NULL DEFAULT 0\n"
            + "         live:   integer NOT NULL DEFAULT 7\n1 difference to version ");
    }

    [Fact]
    public async Task A_downgrade_needs_an_option()
    {
        await using var database = await TestDatabase.CreateAsync();
        var result = await RunAsync(database, "migrate", "--to", "3");
        (result.ExitCode, result.Error.Contains("--allow-downgrade", StringComparison.Ordinal)).ShouldBe((73, true));
        (await RunAsync(database, "migrate", "--to", "3", "--allow-downgrade", "--dry-run"))
            .Output.ShouldContain("DROP TABLE alerts;");
        (await RunAsync(database, "migrate", "--to", "3", "--allow-downgrade"))
            .Output.ShouldContain("the database is at version 3");
    }

    [Fact]
    public async Task Lint_reads_a_file_and_exits_with_1_for_an_error()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var file = Path.Combine(TestFolder.Make("lint"), "05_up_x.sql");
        await File.WriteAllTextAsync(file, "-- x\nDROP TABLE vms;\nCREATE INDEX x ON hosts (id);\n", Cancel);
        var result = await RunAsync(database, "lint", file);
        result.ExitCode.ShouldBe(1);
        result.Output.ShouldContain("05_up_x.sql:2: error data-loss: ");
        result.Output.ShouldContain("05_up_x.sql:3: warning index-locks: ");
        (await RunAsync(database, "lint", "05_up_gone.sql")).ExitCode.ShouldBe(66);
        (await RunAsync(database, "lint")).ExitCode.ShouldBe(0);
    }

    [Fact]
    public async Task Baseline_and_repair_report_what_they_did()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await RunAsync(database, "repair")).Output.ShouldContain("nothing to repair");
        (await RunAsync(database, "repair", "--resume")).ExitCode.ShouldBe(66);
        (await RunAsync(database, "repair", "--resume", "--mark", "done")).ExitCode.ShouldBe(64);
        await database.Db.ExecuteAsync("DROP TABLE schemaversion", null, Cancel);
        (await RunAsync(database, "baseline", "1")).ExitCode.ShouldBe(73);
        (await RunAsync(database, "baseline", $"{Migrator.DesiredVersion}"))
            .Output.ShouldContain($"recorded as version {Migrator.DesiredVersion}");
    }
}
