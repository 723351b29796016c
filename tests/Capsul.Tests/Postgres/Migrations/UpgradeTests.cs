using System.IO.Compression;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Postgres.Migrations;

/// <summary>Databases that hold data.</summary>
public sealed class UpgradeTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Inserts a row into every table, whatever its version; foreign keys are disabled meanwhile.</summary>
    const string Fill = """
        DO $$
        DECLARE t regclass; columns text; made text;
        BEGIN
            SET LOCAL session_replication_role = replica;
            FOR t IN SELECT c.oid FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname !~ '^schema' LOOP
                SELECT string_agg(quote_ident(attname), ', '), string_agg(CASE
                        -- A later version may add states, and then checks those that are there.
                        WHEN attname = 'state' THEN '''running'''
                        WHEN format_type(atttypid, NULL) IN ('smallint', 'integer', 'bigint', 'numeric')
                            THEN '1000'
                        WHEN format_type(atttypid, NULL) = 'boolean' THEN 'FALSE'
                            WHEN format_type(atttypid, NULL) = 'bytea' THEN 'sha256(''x'')'
                        WHEN format_type(atttypid, NULL) IN ('inet', 'cidr') THEN '''10.0.0.1'''
                            WHEN format_type(atttypid, NULL) = 'date' THEN 'now()'
                            WHEN format_type(atttypid, NULL) = 'macaddr' THEN '''02:00:00:00:00:01'''
                        WHEN format_type(atttypid, NULL) = 'tstzrange' THEN 'tstzrange(now(), NULL)'
                            WHEN format_type(atttypid, NULL) LIKE 'timestamp%' THEN 'now()' ELSE '''x''' END, ', ')
                INTO columns, made FROM pg_attribute WHERE attrelid = t AND attnum > 0 AND NOT attisdropped
                    AND attidentity = '' AND attnotnull AND NOT atthasdef;
                -- Business rules are not tested here.
                EXECUTE (SELECT coalesce(string_agg(format('ALTER TABLE %s DROP CONSTRAINT %I', t, conname), '; '), '')
                    FROM pg_constraint WHERE conrelid = t AND contype = 'c');
                IF columns IS NULL THEN EXECUTE format('INSERT INTO %s DEFAULT VALUES ON CONFLICT DO NOTHING', t);
                ELSE EXECUTE format(
                    'INSERT INTO %s (%s) VALUES (%s) ON CONFLICT DO NOTHING', t, columns, made); END IF;
            END LOOP;
        END $$
        """;

    const string Count = """
        SELECT c.relname || ' ' || (xpath('/row/n/text()',
            query_to_xml(format('SELECT count(*) AS n FROM %s', c.oid::regclass), FALSE, TRUE, '')))[1]::text
        FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname !~ '^schema'
        ORDER BY 1
        """;

    [Fact]
    public async Task An_upgrade_to_each_version_keeps_every_row()
    {
        await using var empty = await TestDatabase.CreateEmptyAsync();
        var migrator = new Migrator(empty.Db, NullLogger.Instance);
        for (var version = 2; version <= Migrator.DesiredVersion; version++)
        {
            await migrator.MigrateAsync(version - 1, allowDowngrade: false, Cancel);
            await using var full = await empty.CopyAsync();
            await ShouldKeepEveryRowAsync(full.Db, version);
        }
    }

    static async Task ShouldKeepEveryRowAsync(Db db, int version)
    {
        // Script 53 reads receipts, which must be of payments that exist: PaymentTaxUpgradeTests upgrades such ones.
        string Of(string sql) => version == 53 ? sql.Replace("^schema", "^(schema|receipts$)", StringComparison.Ordinal)
            : sql;
        await db.ExecuteAsync(Of(Fill), null, Cancel);
        var before = await db.ListAsync<string>(Of(Count), null, Cancel);
        before.Where(l => l.EndsWith(" 0", StringComparison.Ordinal))
            .ShouldBeEmpty($"each table of version {version - 1} has a row");
        await new Migrator(db, NullLogger.Instance).MigrateAsync(version, allowDowngrade: false, Cancel);
        // A script may add rows of its own.
        var after = (await db.ListAsync<string>(Count, null, Cancel)).Select(l => l.Split(' '))
            .ToDictionary(l => l[0], l => long.Parse(l[1]), StringComparer.Ordinal);
        before.Select(l => l.Split(' ')).Where(l => after.GetValueOrDefault(l[0]) < long.Parse(l[1]))
            .ShouldBeEmpty($"version {version}");
    }

    static async Task<(TestDatabase Database, Settings Settings)> AtVersion3Async(
        bool data, params (string, string?)[] more)
    {
        var database = await TestDatabase.CreateEmptyAsync();
        await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(3, allowDowngrade: false, Cancel);
        if (data)
            await database.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES ('ada@example.org')", null, Cancel);
        return (database, Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = TestFolder.Make("upgrade") })
            .With(more));
    }

    static string[] Dumps(Settings settings) => Directory.Exists(settings.BackupFolder)
        ? Directory.GetFiles(settings.BackupFolder) : [];

    [Fact]
    public async Task A_database_that_holds_data_is_dumped_before_it_is_changed()
    {
        var (database, settings) = await AtVersion3Async(data: true);
        await using var _ = database;
        var migrator = new Migrator(database.Db, NullLogger.Instance) { Settings = settings };
        await migrator.MigrateAsync(Cancel);
        var file = Dumps(settings).ShouldHaveSingleItem();
        Path.GetFileName(file).ShouldMatch(
            $"^capsul-before-upgrade-3-to-{Migrator.DesiredVersion}-" + @"\d{4}-\d\d-\d\d-\d{6}\.gz$");
        using var text = new StreamReader(new GZipStream(File.OpenRead(file), CompressionMode.Decompress));
        var dump = await text.ReadToEndAsync(Cancel);
        dump.ShouldContain("ada@example.org");
        dump.ShouldNotContain("CREATE TABLE public.alerts", customMessage: "it was taken before");
        await migrator.MigrateAsync(Cancel);
        Dumps(settings).Length.ShouldBe(1, "a start with nothing to do dumps nothing");
        await migrator.MigrateAsync(3, allowDowngrade: true, Cancel);
        Dumps(settings).Count(
            f => f.Contains($"before-downgrade-{Migrator.DesiredVersion}-to-3", StringComparison.Ordinal)).ShouldBe(1);
    }

    [Theory, InlineData(false, "on"), InlineData(true, "off")]
    public async Task Without_data_or_if_disabled_nothing_is_dumped(bool data, string dump)
    {
        var (database, settings) = await AtVersion3Async(data, ("CAPSUL_DUMP_BEFORE_UPGRADE", dump));
        await using var _ = database;
        (await new Migrator(database.Db, NullLogger.Instance) { Settings = settings }.MigrateAsync(Cancel))
            .ShouldBe(Migrator.DesiredVersion - 3);
        Dumps(settings).ShouldBeEmpty();
        if (!data) return;
        await new Migrator(database.Db, NullLogger.Instance) { Settings = settings }.MigrateAsync(3,
            allowDowngrade: true, Cancel);
        Dumps(settings).ShouldHaveSingleItem("a downgrade is always dumped")
            .ShouldContain($"before-downgrade-{Migrator.DesiredVersion}-to-3");
    }

    [Fact]
    public async Task Without_its_dump_nothing_is_changed()
    {
        var (database, settings) = await AtVersion3Async(data: true, ("CAPSUL_BACKUP_FOLDER", "/proc/capsul"));
        await using var _ = database;
        var error = await Should.ThrowAsync<ProblemException>(() =>
            new Migrator(database.Db, NullLogger.Instance) { Settings = settings }.MigrateAsync(Cancel));
        error.Problem.Message.ShouldContain("/proc/capsul");
        error.Problem.Message.ShouldContain("CAPSUL_DUMP_BEFORE_UPGRADE=off");
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel)).ShouldBe(3);
    }
}
