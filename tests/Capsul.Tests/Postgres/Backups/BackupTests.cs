using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Dapper;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Capsul.Tests.Postgres.Backups;

public sealed class BackupTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    readonly FakeTimeProvider time = new(new DateTimeOffset(2021, 2, 15, 3, 4, 5, TimeSpan.Zero));

    static Settings Where(params (string, string?)[] changes) =>
        Settings.Load(new Dictionary<string, string>(
            StringComparer.Ordinal)
        { ["CAPSUL_DATA"] = TestFolder.Make("backup") }).With(changes);

    TakeBackup Take(TestDatabase database, Settings settings) =>
        new(database.Db, settings, time, _ => { }) { Watch = BackupAlert.Watch(settings, time) };

    static TakeBackup.Request Wish(
        string? target = null, DumpFormat format = DumpFormat.Plain, string? encryptTo = null) =>
        new(target, format, encryptTo, "asked");

    RestoreBackup Restore(TestDatabase database, Settings settings) =>
        new(database.Db, settings, time, SeatLock.ForRestore, _ => { });

    static async Task<TestDatabase> PaidAsync(int payments = 3)
    {
        var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES ('jo@example.org')", null, Cancel);
        await database.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method) SELECT 'jo@example.org', 20.25, 'cash' FROM "
            + "generate_series(1, @payments)", new { payments }, Cancel);
        return database;
    }

    static Task<string?> MoneyAsync(Db db) =>
        db.FindAsync<string>("SELECT count(*) || ' ' || coalesce(sum(dollars), 0) FROM payments", null, Cancel);

    [Fact]
    public async Task Is_named_by_date_verified_and_recorded()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var first = await Take(database, settings).RunAsync(Wish(), Cancel);
        first.File.ShouldBe(Path.Combine(settings.Data, "backups", "capsul-backup-2021-02-15.gz"));
        first.Proof.ShouldContain("payments dollars=60.75");
        var second = await Take(database, settings).RunAsync(Wish(), Cancel);
        second.File.ShouldEndWith("capsul-backup-2021-02-15-030405.gz", Case.Sensitive);
        Directory.GetFiles(settings.BackupFolder).Length.ShouldBe(2, "nothing else is left there");
        Directory.Exists(Path.Combine(settings.Data, "scratch", "postgres")).ShouldBeFalse();
        var row = (await database.Db.FindAsync<BackupRow>(BackupSql.LastVerified, null, Cancel))!;
        (row.File, row.Bytes, row.SchemaVersion, row.Problem)
            .ShouldBe((second.File, new FileInfo(second.File).Length, Migrator.DesiredVersion, ""));
    }

    [Fact]
    public async Task Is_interchangeable_with_pg_dump_gzip_zcat_and_psql()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var file = (await Take(database, settings).RunAsync(Wish(), Cancel)).File;
        await using var byHand = await TestDatabase.CreateEmptyAsync();
        await ShellAsync(byHand, $"zcat {file} | psql -q -X -v ON_ERROR_STOP=1 >/dev/null");
        (await MoneyAsync(byHand.Db)).ShouldBe("3 60.75");

        var dumped = Path.Combine(settings.Data, "capsul-backup-2021-02-15.gz");
        await ShellAsync(database, $"pg_dump | gzip -9 > {dumped}");
        await using var empty = await TestDatabase.CreateEmptyAsync();
        var restored = await Restore(empty, settings).RunAsync(dumped, null, beside: false, Cancel);
        (restored.SchemaVersion, restored.Old, await MoneyAsync(empty.Db))
            .ShouldBe((Migrator.DesiredVersion, null, "3 60.75"));
        (await empty.Db.FindAsync<long>("SELECT epoch FROM seat", null, Cancel))
            .ShouldBe(1_000_000, "Spokes must follow it, whatever they were sent since the backup");
    }

    static Task ShellAsync(TestDatabase database, string line) =>
        new Command("bash", "-o", "pipefail", "-c",
            line)
        { Environment = database.Db.Address.ForPrograms("test") }.RunAsync(Cancel);

    [Fact]
    public async Task Is_a_consistent_snapshot_while_payments_arrive()
    {
        await using var database = await PaidAsync();
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var paying = Task.Run(async () =>
        {
            while (!enough.IsCancellationRequested)
                await database.Db.ExecuteAsync(
                    "INSERT INTO payments (email, dollars, method) VALUES ('jo@example.org', 1, 'cash')", null, Cancel);
        }, Cancel);
        var before = (await MoneyAsync(database.Db))!;
        var backup = await Take(database, Where()).RunAsync(Wish(), Cancel);
        await enough.CancelAsync();
        await paying;
        (await MoneyAsync(database.Db)).ShouldNotBe(before, "it did come in");
        backup.Proof.ShouldContain("payments dollars=");
    }

    [Fact]
    public async Task Custom_and_encrypted_ones_can_be_restored()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var key = Path.Combine(settings.Data, "key.txt");
        var made = await new Command("age-keygen", "-o", key).RunAsync(Cancel);
        var recipient = made.Error.Trim().Split(' ')[^1];
        foreach (var format in Enum.GetValues<DumpFormat>())
        {
            var plain = await Take(database, settings).RunAsync(Wish(format: format), Cancel);
            var sealedUp = await Take(database, settings).RunAsync(Wish(format: format, encryptTo: recipient), Cancel);
            sealedUp.File.ShouldEndWith(format == DumpFormat.Plain ? "capsul-backup-2021-02-15.gz.age"
                : "capsul-backup-2021-02-15.dump.age", Case.Sensitive);
            foreach (var file in (string[])[plain.File, sealedUp.File])
            {
                await using var empty = await TestDatabase.CreateEmptyAsync();
                await Restore(empty, settings).RunAsync(file, key, beside: false, Cancel);
                (await MoneyAsync(empty.Db)).ShouldBe("3 60.75", file);
            }
            await using var none = await TestDatabase.CreateEmptyAsync();
            (await RefusalAsync(() => Restore(none, settings)
                .RunAsync(sealedUp.File, null, beside: false, Cancel))).Message.ShouldContain("as --identity");
        }
    }

    [Fact]
    public async Task An_unusable_file_is_refused_with_the_reason_and_nothing_changes()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var good = await Take(database, settings).RunAsync(Wish(), Cancel);
        var custom = await Take(database, settings).RunAsync(Wish(format: DumpFormat.Custom), Cancel);
        var bytes = await File.ReadAllBytesAsync(good.File, Cancel);
        var sql = (await new Command("zcat", good.File).RunAsync(Cancel)).Output;
        var damaged = bytes.ToArray();
        damaged[bytes.Length / 2] ^= 0xff;
        await using var empty = await TestDatabase.CreateEmptyAsync();
        (string Name, byte[] Content, string Says)[] files =
        [
            ("cut.gz", bytes[..(bytes.Length / 2)], "damaged or truncated"),
            ("one-byte-short.gz", bytes[..^1], "damaged or truncated"),
            ("flipped.gz", damaged, "damaged or truncated"),
            ("cut.dump", (await File.ReadAllBytesAsync(custom.File, Cancel))[..^2000], "damaged or truncated"),
            ("cut.sql", Text(sql[..(sql.Length / 2)]), "is truncated: its closing line"),
            ("notes.txt", Text("dear diary"), "is not a dump of a PostgreSQL database"),
            ("empty.gz", [], "is not a dump of a PostgreSQL database"),
            ("foreign.sql",
                Text(
                "--\n-- PostgreSQL database dump\n--\nCREATE TABLE other (id int);\n--\n-- PostgreSQL database dump "
                + "complete\n--\n"), "is a dump of another database"),
            ("newer.sql",
                Text(sql.Replace($"FROM stdin;\n{Migrator.DesiredVersion}\n",
                "FROM stdin;\n999\n", StringComparison.Ordinal)), "has schema version 999"),
            ("half.gz.part", bytes, "was never finished"),
            ("owned.sql",
                Text(sql.Replace("CREATE TABLE public.alerts ",
                "ALTER SCHEMA public OWNER TO \"capsul-flask\"; CREATE TABLE public.alerts ",
                StringComparison.Ordinal)), "Create that role first: CREATE ROLE \"capsul-flask\";"),
            ("broken.sql",
                Text(sql.Replace("CREATE TABLE public.vms ", "CREATE TABEL public.vms ", StringComparison.Ordinal)),
                "could not be restored: psql:<stdin>:"),
        ];
        foreach (var (name, content, says) in files)
        {
            var file = Path.Combine(settings.Data, name);
            await File.WriteAllBytesAsync(file, content, Cancel);
            (await RefusalAsync(() => Restore(empty, settings)
                .RunAsync(file, null, beside: false, Cancel))).Message.ShouldContain(says, customMessage: name);
            (await empty.Db.FindAsync<int>(BackupSql.TableCount, null, Cancel)).ShouldBe(0, name);
            var databases = await database.Db.ListAsync<string>("SELECT datname::text FROM pg_database ORDER BY 1",
                null, Cancel);
            (await RefusalAsync(() => Restore(database, settings)
                .RunAsync(file, null, beside: true, Cancel))).Message.ShouldContain(says, customMessage: name);
            (await database.Db.ListAsync<string>("SELECT datname::text FROM pg_database ORDER BY 1", null, Cancel))
                .Where(d => d.StartsWith(Name(database) + "_", StringComparison.Ordinal)).ShouldBeEmpty(name);
        }
        (await MoneyAsync(database.Db)).ShouldBe("3 60.75");
        (await RefusalAsync(() => Restore(empty, settings)
            .RunAsync("/nowhere/at.gz", null, beside: false, Cancel))).Kind.ShouldBe(ProblemKind.NotFound);
    }

    static byte[] Text(string text) => System.Text.Encoding.UTF8.GetBytes(text);

    static string Name(TestDatabase database) => new NpgsqlConnectionStringBuilder(database.ConnectionString).Database!;

    static async Task<Problem> RefusalAsync(Func<Task> act) => (await Should.ThrowAsync<ProblemException>(act)).Problem;

    [Fact]
    public async Task Beside_the_old_database_which_is_renamed_and_kept_and_only_while_no_hub_is_active()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var backup = await Take(database, settings).RunAsync(Wish(), Cancel);
        await database.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method) VALUES ('jo@example.org', 1, 'cash')", null, Cancel);
        (await RefusalAsync(() => Restore(database, settings)
            .RunAsync(backup.File, null, beside: false, Cancel))).Message.ShouldContain("is not empty. With --beside");

        await using (var hub = await database.Db.OpenAloneAsync(SeatSql.ConnectionName + "rack pid 7", Cancel))
        {
            await hub.ExecuteScalarAsync("SELECT pg_advisory_lock(@key)", new { key = SeatSql.LockKey });
            (await RefusalAsync(() => Restore(database, settings)
                .RunAsync(backup.File, null, beside: true, Cancel))).Message.ShouldContain(
                "A Hub is active on this database (rack pid 7)");
        }
        await Until.TrueAsync("the lock is released", TimeSpan.FromSeconds(10), () =>
            database.Db.FindAsync<bool>(
            "SELECT NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = @key::oid AND database "
            + "= (SELECT oid FROM pg_database WHERE datname = current_database()))",
            new { key = SeatSql.LockKey }, Cancel));
        var restored = await Restore(database, settings).RunAsync(backup.File, null, beside: true, Cancel);
        restored.Old.ShouldBe($"{Name(database)}_before_20210215030405");
        await using var now =
            new Db(new NpgsqlConnectionStringBuilder(database.ConnectionString) { Pooling = false }.ConnectionString);
        await using var old = new Db(new NpgsqlConnectionStringBuilder(
            database.Db.Address.For(restored.Old!).ConnectionString)
        { Pooling = false }.ConnectionString);
        (await MoneyAsync(now), await MoneyAsync(old)).ShouldBe(("3 60.75", "4 61.75"));
        await using var maintenance = new Db(database.Db.Address.For("postgres").ConnectionString);
        await maintenance.RunMadeAsync(BackupSql.DropStatement, new { name = restored.Old }, Cancel);
    }

    [Theory, InlineData(DumpFormat.Plain, false), InlineData(DumpFormat.Custom, false),
        InlineData(DumpFormat.Plain, true)]
    public async Task Large_objects_are_verified_and_restored_in_one_transaction(
        DumpFormat format, bool beside)
    {
        await using var database = await PaidAsync();
        var settings = Where();
        await database.Db.FindAsync<uint>("SELECT lo_from_bytea(4711, decode(repeat('00ff', 40000), 'hex'))",
            null, Cancel);
        await database.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method, note) VALUES ('jo@example.org', 1, 'cash', "
            + "E'BEGIN;\nCOMMIT;')", null, Cancel);
        var backup = await Take(database, settings).RunAsync(Wish(format: format), Cancel);
        await using var other = beside ? await TestDatabase.CreateAsync() : await TestDatabase.CreateEmptyAsync();
        var restored = await Restore(other, settings).RunAsync(backup.File, null, beside, Cancel);
        await using var now = new Db(other.ConnectionString);
        (await MoneyAsync(now)).ShouldBe("4 61.75");
        (await now.FindAsync<string>("SELECT md5(lo_get(4711)) || ' ' || (SELECT epoch >= 1000000 FROM seat)",
            null, Cancel))
            .ShouldBe(
                Convert.ToHexStringLower(System.Security.Cryptography.MD5.HashData(
                [.. Enumerable.Range(0, 80_000).Select(i => (byte)(i % 2 * 255))])) + " true");
        if (restored.Old is not { } old) return;
        await using var maintenance = new Db(database.Db.Address.For("postgres").ConnectionString);
        await maintenance.RunMadeAsync(BackupSql.DropStatement, new { name = old }, Cancel);
    }

    [Fact]
    public async Task A_dump_that_ends_the_transaction_is_reported_as_possibly_partial()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var file = (await Take(database, settings).RunAsync(Wish(), Cancel)).File;
        var sql = (await new Command("zcat", file).RunAsync(Cancel)).Output;
        var ended = Path.Combine(settings.Data, "ended.sql");
        await File.WriteAllTextAsync(ended, sql.Replace("CREATE TABLE public.alerts ",
            "COMMIT; CREATE TABLE public.alerts ", StringComparison.Ordinal), Cancel);
        await using var empty = await TestDatabase.CreateEmptyAsync();
        (await RefusalAsync(() => Restore(empty, settings).RunAsync(ended, null, false, Cancel))).Message.ShouldContain(
            "Part of it may have been kept");
    }

    [Fact]
    public async Task A_dump_with_windows_line_ends_is_accepted()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var file = (await Take(database, settings).RunAsync(Wish(), Cancel)).File;
        var windows = Path.Combine(settings.Data, "windows.sql");
        var sql = (await new Command("zcat", file).RunAsync(Cancel)).Output;
        await File.WriteAllTextAsync(windows, sql.Replace("\n", "\r\n", StringComparison.Ordinal), Cancel);
        await using var empty = await TestDatabase.CreateEmptyAsync();
        await Restore(empty, settings).RunAsync(windows, null, false, Cancel);
        (await MoneyAsync(empty.Db)).ShouldBe("3 60.75");
    }

    [Fact]
    public async Task A_missing_folder_is_not_created_silently()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var missing = Path.Combine(settings.Data, "not-mounted", "b.gz");
        (await RefusalAsync(() => Take(database, settings).RunAsync(Wish(missing), Cancel))).Message.ShouldContain(
            "There is no folder");
        Directory.Exists(Path.GetDirectoryName(missing)).ShouldBeFalse();
    }

    [Fact]
    public async Task An_invalid_recipient_is_reported_in_age_s_own_words()
    {
        await using var database = await PaidAsync();
        (await RefusalAsync(() => Take(database, Where())
            .RunAsync(Wish(encryptTo: "age1nonsense"), Cancel))).Message.ShouldContain("age1nonsense");
    }

    [Fact]
    public async Task Extra_content_after_the_end_of_a_dump_is_refused()
    {
        await using var database = await PaidAsync();
        var settings = Where();
        var file = (await Take(database, settings).RunAsync(Wish(), Cancel)).File;
        await using (var member = new System.IO.Compression.GZipStream(new FileStream(file, FileMode.Append),
            System.IO.Compression.CompressionLevel.Fastest))
            await member.WriteAsync("DROP TABLE payments;\n"u8.ToArray(), Cancel);
        await using var empty = await TestDatabase.CreateEmptyAsync();
        (await RefusalAsync(() => Restore(empty, settings).RunAsync(file, null, false, Cancel))).Message.ShouldContain(
            "continues after the end of the dump");
    }

    [Fact]
    public async Task A_failed_one_leaves_only_an_alert_and_an_email_and_the_next_clears_it()
    {
        await using var database = await PaidAsync();
        var settings = Where(("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        var broken = settings.With(("CAPSUL_POSTGRES_BIN", "/nowhere"));
        for (var attempt = 0; attempt < 2; attempt++)
            (await RefusalAsync(() => Take(database, broken).RunAsync(Wish(), Cancel))).Message.ShouldContain(
                "CAPSUL_POSTGRES_BIN is /nowhere");
        Directory.GetFiles(settings.BackupFolder).ShouldBeEmpty();
        (await database.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel))
            .ShouldHaveSingleItem().Message.ShouldContain(
            "The backup of 2021-02-15T03:04:05Z failed: CAPSUL_POSTGRES_BIN");
        (await database.Db.ListAsync<string>("SELECT subject FROM mails WHERE recipient = 'ops@example.org'",
            null, Cancel)).ShouldBe(["Capsul: backup failed"]);
        await Take(database, settings).RunAsync(Wish(), Cancel);
        (await database.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_copy_that_differs_is_detected()
    {
        await using var database = await PaidAsync();
        await using var connection = await database.Db.OpenAsync(Cancel);
        var before = await DatabaseFacts.ReadAsync(connection, Cancel);
        before.Differences(before).ShouldBeEmpty();
        await database.Db.ExecuteAsync("ALTER TABLE payments DISABLE TRIGGER USER; DROP TABLE alerts; "
            + "UPDATE payments SET dollars = dollars + 0.01 WHERE id = 1", null, Cancel);
        var after = await DatabaseFacts.ReadAsync(connection, Cancel);
        before.Differences(after)
            .Where(d => !d.StartsWith("public.account_totals", StringComparison.Ordinal))
            .ShouldBe(["public.alerts: 0 rows; restored: not there",
            "public.payments: 3 rows, dollars=60.75; restored: 3 rows, dollars=60.76"]);
    }

    [Fact]
    public async Task Is_verified_beside_the_database_if_there_are_no_server_programs()
    {
        await using var database = await PaidAsync();
        var clients = Directory.CreateDirectory(Path.Combine(TestFolder.Make("clients"), "bin")).FullName;
        foreach (var program in (string[])["pg_dump", "psql", "pg_restore"])
            File.CreateSymbolicLink(Path.Combine(clients, program),
                Path.Combine(PostgresPrograms.Folder(null, program), program));
        var settings = Where(("CAPSUL_POSTGRES_BIN", clients));
        (await Take(database, settings).RunAsync(Wish(), Cancel)).Proof.ShouldContain("payments dollars=60.75");
        (await database.Db.ListAsync<string>("SELECT datname::text FROM pg_database WHERE datname = @name",
            new { name = ScratchDatabase.NameBeside(settings) }, Cancel)).ShouldBeEmpty();
    }
}
