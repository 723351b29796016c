using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Postgres.Migrations;

public sealed class SchemaCheckTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<List<string>> DriftAsync(TestDatabase database) =>
        [.. (await SchemaCheck.CompareAsync(database.Db, MigrationScripts.Embedded, Migrator.DesiredVersion, Cancel))
            .Select(d => $"{d.What} {d.Kind} {d.Name}")];

    [Theory]
    [InlineData("ALTER TABLE vms DROP COLUMN problem", "missing column public.vms.problem")]
    [InlineData("ALTER TABLE vms ADD COLUMN mine text", "extra column public.vms.mine")]
    [InlineData("ALTER TABLE vms ALTER COLUMN phase TYPE bigint", "changed column public.vms.phase")]
    [InlineData("ALTER TABLE vms ALTER COLUMN phase SET DEFAULT 1", "changed column public.vms.phase")]
    [InlineData("ALTER TABLE vms ALTER COLUMN phase DROP NOT NULL", "changed column public.vms.phase")]
    [InlineData("DROP INDEX vms_failed", "missing index public.vms_failed")]
    [InlineData("CREATE INDEX mine ON vms (phase)", "extra index public.mine")]
    [InlineData("DROP INDEX vms_failed; CREATE INDEX vms_failed ON vms (email, id)", "changed index public.vms_failed")]
    [InlineData("ALTER TABLE vms DROP CONSTRAINT vms_deleted_is_gone",
        "missing constraint public.vms.vms_deleted_is_gone")]
    [InlineData("ALTER TABLE vms DISABLE TRIGGER vms_told", "changed trigger public.vms.vms_told")]
    [InlineData("CREATE OR REPLACE FUNCTION tell_vms() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "changed function public.tell_vms()")]
    [InlineData("CREATE VIEW mine AS SELECT 1 AS one", "extra view public.mine")]
    [InlineData("CREATE SEQUENCE mine", "extra sequence public.mine")]
    [InlineData("CREATE TYPE mine AS ENUM ('a')", "extra enum public.mine")]
    [InlineData("CREATE DOMAIN mine AS text CHECK (VALUE <> '')", "extra domain public.mine")]
    [InlineData("CREATE SCHEMA mine", "extra schema mine")]
    [InlineData("ALTER TABLE vms ENABLE ROW LEVEL SECURITY", "changed table public.vms")]
    public async Task Drift_is_named_object_by_object(string change, string drift)
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(change, null, Cancel);
        (await DriftAsync(database)).ShouldBe([drift]);
    }

    [Fact]
    public async Task A_correct_schema_has_no_drift_and_no_scratch_database_is_left()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await DriftAsync(database)).ShouldBeEmpty();
        // Other tests create some, too: none may remain.
        await Until.TrueAsync("all scratch databases are dropped", TimeSpan.FromSeconds(60), () =>
            database.Db.FindAsync<bool>(
                "SELECT NOT EXISTS (SELECT 1 FROM pg_database WHERE datname LIKE 'capsul_verify_%')", null, Cancel));
    }

    [Fact]
    public async Task Without_permission_to_create_databases_it_says_so()
    {
        await using var database = await TestDatabase.CreateAsync();
        var role = new NpgsqlConnectionStringBuilder(database.ConnectionString).Database + "_reader";
        await database.Db.ExecuteAsync(
            $"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT SELECT ON schemaversion, schema_scripts, schema_statements "
            + $"TO {role}", null, Cancel);
        await using (var db = new Capsul.Postgres.Db(
            new NpgsqlConnectionStringBuilder(database.ConnectionString)
            {
                Username = role,
                Password = "x"
            }.ConnectionString))
        {
            var error = await Should.ThrowAsync<ProblemException>(() =>
                SchemaCheck.CompareAsync(db, MigrationScripts.Embedded, 1, Cancel));
            error.Problem.Message.ShouldContain("CREATEDB");
        }
        await database.Db.ExecuteAsync($"DROP OWNED BY {role}; DROP ROLE {role}", null, Cancel);
    }

    [Fact]
    public async Task A_database_without_its_record_is_baselined_only_to_its_own_version()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("DROP TABLE schemaversion, schema_scripts, schema_statements", null, Cancel);
        var baseline = new Baseline(database.Db, NullLogger.Instance);
        (await Should.ThrowAsync<ProblemException>(() =>
            baseline.TakeAsync(3, force: false, Cancel))).Problem.Message.ShouldContain("not that of version 3");
        (await SchemaCheck.VersionAsync(database.Db, Cancel)).ShouldBeNull("nothing was recorded");
        (await baseline.TakeAsync(Migrator.DesiredVersion, force: false, Cancel)).ShouldBeEmpty();
        (await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(Cancel)).ShouldBe(0);
        (await DriftAsync(database)).ShouldBeEmpty();
        var status = await SchemaStatus.ReadAsync(database.Db, MigrationScripts.Embedded, Cancel);
        status.Lines.ShouldAllBe(l => l.State == "applied" && l.Applied!.AppliedBy.StartsWith("baseline by capsul"));
    }

    [Fact]
    public async Task A_difference_is_ignored_only_with_force_and_reported()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("DROP INDEX vms_failed; DROP TABLE schemaversion", null, Cancel);
        var baseline = new Baseline(database.Db, NullLogger.Instance);
        await Should.ThrowAsync<ProblemException>(() =>
            baseline.TakeAsync(Migrator.DesiredVersion, force: false, Cancel));
        (await baseline.TakeAsync(Migrator.DesiredVersion, force: true, Cancel))
            .ShouldHaveSingleItem().Name.ShouldBe("public.vms_failed");
    }
}
