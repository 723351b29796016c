using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Cli;

/// <summary>
/// The document that Capsul is based on, sentence by sentence: each test is named after a sentence. The part on manual
/// SQL queries is in <see cref="SeedTests"/>.
/// </summary>
public sealed class SeedDocumentTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Dictionary<string, string> Environment(TestDatabase database) => new(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = TestFolder.Make("seeddoc"),
        ["CAPSUL_DATABASE"] = database.ConnectionString,
        ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
        ["CAPSUL_HYPERVISOR"] = "simulated",
        ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
        ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
    };

    [Fact]
    public void The_Hub_talks_to_the_Postgres_database_while_the_Spokes_create_and_manage_virtual_machines()
    {
        static IEnumerable<string?> References(Type of) => of.Assembly.GetReferencedAssemblies().Select(a => a.Name);
        References(typeof(Db)).ShouldContain("Npgsql");
        References(typeof(Db)).ShouldNotContain("Capsul.Spoke");
        References(typeof(IHypervisor)).ShouldNotContain("Npgsql");
    }

    [Fact]
    public async Task One_instance_can_run_in_both_hub_mode_and_spoke_mode_at_the_same_time_and_only_one_is_in_Hub_mode_at_any_given_time()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var both = CapsulProgram.Start(Environment(database), "up");
        await both.AwaitSaidAsync("active Hub (epoch 1)", Limit);
        await Until.TrueAsync("its host is online", Limit,
            () => database.Db.FindAsync<bool>("SELECT coalesce(bool_and(online), FALSE) FROM hosts", null, Cancel));
        await using var second = CapsulProgram.Start(Environment(database), "up", "--hub");
        await second.AwaitSaidAsync("Capsul is running at", Limit);
        var status = await CapsulProgram.RunAsync(Environment(database), Cancel, "hub", "status");
        status.Output.Split('\n').Count(l => l.Contains(" acting ", StringComparison.Ordinal)).ShouldBe(1);
        status.Output.ShouldContain(" standby ");
    }

    [Fact]
    public async Task The_Postgres_connection_parameters_are_configurable()
    {
        await using var database = await TestDatabase.CreateAsync();
        var parts = new NpgsqlConnectionStringBuilder(database.ConnectionString);
        var file = Path.Combine(TestFolder.Make("password"), "password");
        await File.WriteAllTextAsync(file, parts.Password + "\n", Cancel);
        var printed = await CapsulProgram.RunAsync(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("seeddoc"),
            ["CAPSUL_DATABASE_HOST"] = parts.Host!,
            ["CAPSUL_DATABASE_NAME"] = parts.Database!,
            ["CAPSUL_DATABASE_USER"] = parts.Username!,
            ["CAPSUL_DATABASE_PASSWORD_FILE"] = file,
        }, Cancel, "sql", "-c", "SELECT current_database()");
        (printed.Output, printed.Error).ShouldBe(($"{parts.Database}\n", ""));
    }

    [Fact]
    public async Task A_table_named_schemaversion_has_one_row_and_one_column_and_scripts_run_one_by_one_until_it_is_equal()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        await using var hub = CapsulProgram.Start(Environment(database), "up", "--hub");
        await hub.AwaitSaidAsync("Capsul is running at", Limit);
        var applied = hub.Said.Split('\n').Where(l => l.Contains("Applying schema migration", StringComparison.Ordinal))
            .Select(l => l.Trim().Split(' ')[^1]).ToList();
        applied.ShouldBe(MigrationScripts.Embedded.All.Where(s => s.Up).Select(s => s.Name));
        (await CapsulProgram.RunAsync(Environment(database), Cancel, "sql", "-c", "SELECT * FROM schemaversion; SELECT "
            + "count(*) FROM information_schema.columns WHERE table_name = 'schemaversion'"))
            .Output.ShouldBe($"{Migrator.DesiredVersion}\n1\n");
    }

    [Fact]
    public async Task A_script_named_02_up_xyz_migrates_from_1_to_2_and_02_down_xyz_from_2_to_1()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = new ScriptFolder().Add("01_up_abc.sql", "CREATE TABLE one (id integer);")
            .Add("01_down_abc.sql", "DROP TABLE one;")
            .Add("02_up_xyz.sql", "CREATE TABLE two (id integer);").Add("02_down_xyz.sql", "DROP TABLE two;");
        await folder.Migrator(database.Db).MigrateAsync(1, allowDowngrade: false, Cancel);
        (await TablesAsync(database)).ShouldBe((1, true, false));
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        (await TablesAsync(database)).ShouldBe((2, true, true));
        await folder.Migrator(database.Db).MigrateAsync(1, allowDowngrade: true, Cancel);
        (await TablesAsync(database)).ShouldBe((1, true, false));
    }

    static async Task<(int Version, bool One, bool Two)> TablesAsync(TestDatabase database) => (
        await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel),
        await database.Db.FindAsync<bool>("SELECT to_regclass('one') IS NOT NULL", null, Cancel),
        await database.Db.FindAsync<bool>("SELECT to_regclass('two') IS NOT NULL", null, Cancel));

    [Fact]
    public async Task DO_NOT_EDIT_the_existing_schema_versions()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = new ScriptFolder().Add("01_up_abc.sql", "CREATE TABLE one (id integer);")
            .Add("01_down_abc.sql", "DROP TABLE one;");
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        folder.Add("01_up_abc.sql", "CREATE TABLE one (id bigint);");
        (await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db)
            .MigrateAsync(Cancel))).Problem.Message.ShouldContain("01_up_abc.sql is no longer what was applied");
    }

    [Fact]
    public void Schema_version_upgrades_should_not_delete_data() =>
        Lint.Check([.. MigrationScripts.Embedded.All.Where(s => s.Up)], wholeSet: false)
            .Where(f => f.Rule.StartsWith("data-loss", StringComparison.Ordinal)).ShouldBeEmpty();

    [Fact]
    public async Task Schema_version_downgrades_throw_an_error_and_exit()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("UPDATE schemaversion SET version = 999", null, Cancel);
        var ended = await CapsulProgram.RunAsync(Environment(database), Cancel, "up", "--hub");
        ended.ExitCode.ShouldBe(73);
        ended.Error.ShouldContain("schema version 999, newer than this program");
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel)).ShouldBe(999);
    }

    [Fact]
    public async Task How_to_view_the_logs_on_the_database_server()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("DO $$ BEGIN RAISE WARNING 'seen in the log'; END $$", null, Cancel);
        await Until.TrueAsync("it is in the log", Limit, async () =>
            (await CapsulProgram.RunAsync(Environment(database), Cancel, "db", "logs", "--since", "5m"))
                .Output.Contains("WARNING:  seen in the log", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Pg_dump_and_gzip_9_make_a_backup()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var empty = await TestDatabase.CreateEmptyAsync();
        var file = Path.Combine(TestFolder.Make("seeddoc"), "capsul-backup-2021-02-15.gz");
        await new Command("bash", "-o", "pipefail", "-c", $"pg_dump | gzip -9 > {file}")
        {
            Environment = database.Db.Address.ForPrograms("seed"),
        }.RunAsync(Cancel);
        var restored = await CapsulProgram.RunAsync(Environment(empty), Cancel, "db", "restore", file);
        restored.ExitCode.ShouldBe(0, restored.Error);
        (await empty.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel))
            .ShouldBe(Migrator.DesiredVersion);
    }
}
