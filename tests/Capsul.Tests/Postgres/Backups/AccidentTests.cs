using System.IO.Compression;
using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Postgres.Backups;

/// <summary>
/// Backups and restores that are killed, conflict with each other, or meet an unfavorable environment; mostly with the
/// real program.
/// </summary>
public sealed class AccidentTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Dictionary<string, string> Environment(TestDatabase database) =>
        new(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("accident"),
            ["CAPSUL_DATABASE"] = database.ConnectionString,
            ["CAPSUL_HYPERVISOR"] = "simulated"
        };

    static string Name(TestDatabase database) => new NpgsqlConnectionStringBuilder(database.ConnectionString).Database!;

    /// <summary>More than the capacity of a pipe, and enough that verification takes a while.</summary>
    static async Task<TestDatabase> LargeAsync(int rows = 200_000)
    {
        var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "CREATE TABLE large AS SELECT g, md5(g::text) AS text FROM generate_series(1, @rows) g",
            new { rows }, Cancel);
        return database;
    }

    static async Task<string> RunAsync(Dictionary<string, string> environment, params string[] arguments)
    {
        var result = await CapsulProgram.RunAsync(environment, Cancel, arguments);
        result.ExitCode.ShouldBe(0, result.Error);
        return result.Output;
    }

    static Task<IReadOnlyList<string>> DatabasesAsync(Db db, string like) =>
        db.ListAsync<string>("SELECT datname::text FROM pg_database WHERE datname LIKE @like ORDER BY 1",
            new { like }, Cancel);

    [Fact]
    public async Task Leftovers_of_a_killed_backup_are_reported_and_removed_by_the_next()
    {
        await using var database = await LargeAsync();
        var environment = Environment(database);
        var folder = environment["CAPSUL_DATA"];
        await using (var killed = CapsulProgram.Start(environment, "db", "backup", Path.Combine(folder, "manual.gz")))
        {
            await killed.AwaitSaidAsync("verifying:", Limit);
            await killed.KillAsync();
        }
        File.Exists(Path.Combine(folder, "manual.gz")).ShouldBeFalse();
        File.Exists(Path.Combine(folder, "manual.gz.unverified.part")).ShouldBeTrue();
        (await CapsulProgram.RunAsync(environment, Cancel, "doctor")).Output.ShouldContain(
            "never finished: it is still running or was killed");

        await RunAsync(environment, "db", "backup");
        Directory.GetFiles(folder, "*.part", SearchOption.AllDirectories).ShouldBeEmpty();
        Directory.Exists(Path.Combine(folder, "scratch", "postgres")).ShouldBeFalse();
        (await CapsulProgram.RunAsync(environment, Cancel, "doctor")).Output.ShouldNotContain("never finished");
    }

    [Fact]
    public async Task A_leftover_scratch_database_on_the_server_is_reported_and_removed_too()
    {
        await using var database = await LargeAsync();
        var environment = Environment(database);
        environment["CAPSUL_POSTGRES_BIN"] = Directory.CreateDirectory(
            Path.Combine(TestFolder.Make("clients"), "bin")).FullName;
        foreach (var program in (string[])["pg_dump", "psql", "pg_restore"])
            File.CreateSymbolicLink(Path.Combine(environment["CAPSUL_POSTGRES_BIN"], program),
                Path.Combine(PostgresPrograms.Folder(null, program), program));
        string left;
        await using (var killed = CapsulProgram.Start(environment, "db", "backup"))
        {
            left = await Until.SomeAsync("it exists", Limit, () =>
                database.Db.FindAsync<string>("SELECT max(datname)::text FROM pg_stat_activity WHERE datname = @name",
                    new { name = ScratchDatabase.NameBeside(Settings.Load(environment)) }, Cancel));
            await killed.KillAsync();
        }
        await Until.TrueAsync("its session has ended", Limit, () =>
            database.Db.FindAsync<bool>("SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = @left)",
            new { left }, Cancel));
        (await CapsulProgram.RunAsync(environment, Cancel, "doctor")).Output.ShouldContain(
            $"database {left} was left by a backup or restore that was killed");
        await RunAsync(environment, "db", "backup");
        (await DatabasesAsync(database.Db, left)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_second_concurrent_backup_is_refused_without_damage_or_an_alert()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environment = Environment(database);
        using (DataFolder.Take(environment["CAPSUL_DATA"], "backup"))
        {
            var second = await CapsulProgram.RunAsync(environment, Cancel, "db", "backup");
            (second.ExitCode, second.Error.Trim())
                .ShouldBe((73, "capsul: Another backup is running on this machine; try again when it has finished."));
        }
        (await database.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel)).ShouldBeEmpty();
        // A target is treated as a folder if it exists.
        Directory.CreateDirectory(Path.Combine(environment["CAPSUL_DATA"], "new"));
        (await RunAsync(environment, "db", "backup", Path.Combine(environment["CAPSUL_DATA"], "new") + "/"))
            .ShouldContain("/new/capsul-backup-");
    }

    [Fact]
    public async Task An_impossible_folder_is_an_error_and_an_alert_in_hub_status()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environment = Environment(database);
        await File.WriteAllTextAsync(Path.Combine(environment["CAPSUL_DATA"], "taken"), "", Cancel);
        environment["CAPSUL_BACKUP_FOLDER"] = Path.Combine(environment["CAPSUL_DATA"], "taken", "deeper");
        var failed = await CapsulProgram.RunAsync(environment, Cancel, "db", "backup");
        failed.ExitCode.ShouldBe(69, failed.Error);
        failed.Error.ShouldContain(" cannot be written: ");
        (await CapsulProgram.RunAsync(environment, Cancel, "hub", "status")).Output.ShouldContain("failed: "
            + environment["CAPSUL_BACKUP_FOLDER"]);
    }

    [Fact]
    public async Task An_unreachable_server_is_an_error_message()
    {
        var environment = new Dictionary<string, string>(
            StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("away"),
            ["CAPSUL_DATABASE"] = "Host=127.0.0.1;Port=1;Username=u;Password=p;Database=d"
        };
        var failed = await CapsulProgram.RunAsync(environment, Cancel, "db", "backup");
        failed.ExitCode.ShouldBe(69, failed.Error);
        failed.Error.Trim().ShouldStartWith("capsul: PostgreSQL at 127.0.0.1:1, database d cannot be reached: ");
    }

    [Fact]
    public async Task To_a_gpg_recipient_and_back()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "INSERT INTO accounts (email) VALUES ('jo@example.org'); INSERT INTO payments (email, dollars, method) "
            + "VALUES ('jo@example.org', 20.25, 'cash')", null, Cancel);
        var environment = Environment(database);
        environment["GNUPGHOME"] = TestFolder.Make("gpg");
        File.SetUnixFileMode(environment["GNUPGHOME"],
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Command Gpg(string program, params string[] arguments) =>
            new(program, arguments)
            {
                Environment = new Dictionary<string, string?>(
            StringComparer.Ordinal)
                { ["GNUPGHOME"] = environment["GNUPGHOME"] }
            };
        await Gpg("gpg", "--batch", "--passphrase", "", "--quick-generate-key",
            "ops@example.org", "default", "default", "never").RunAsync(Cancel);
        try
        {
            var file = (await RunAsync(environment, "db", "backup", "--encrypt-to", "ops@example.org")).Split("  (")[0];
            file.ShouldEndWith(".gz.gpg", Case.Sensitive);
            await using var empty = await TestDatabase.CreateEmptyAsync();
            environment["CAPSUL_DATABASE"] = empty.ConnectionString;
            (await RunAsync(environment, "db", "restore", file)).ShouldContain("payments dollars=20.25");
            await File.WriteAllBytesAsync(file, (await File.ReadAllBytesAsync(file, Cancel))[..^100], Cancel);
            await using var other = await TestDatabase.CreateEmptyAsync();
            environment["CAPSUL_DATABASE"] = other.ConnectionString;
            (await CapsulProgram.RunAsync(environment, Cancel, "db", "restore", file)).ExitCode.ShouldNotBe(0);
            (await other.Db.FindAsync<int>(BackupSql.TableCount, null, Cancel)).ShouldBe(0);
            environment["CAPSUL_DATABASE"] = database.ConnectionString;
            var unknown = await CapsulProgram.RunAsync(environment, Cancel,
                "db", "backup", "--encrypt-to", "stranger@example.org");
            (unknown.ExitCode, unknown.Error).ShouldSatisfyAllConditions(u =>
                u.ExitCode.ShouldBe(69), u => u.Error.ShouldContain("stranger@example.org"));
            Directory.GetFiles(environment["CAPSUL_DATA"], "*unverified*", SearchOption.AllDirectories).ShouldBeEmpty();
        }
        finally
        {
            await Gpg("gpgconf", "--kill", "all").RunAsync(CancellationToken.None);
        }
    }

    [Fact]
    public async Task A_killed_restore_leaves_the_database_in_place_and_its_leftovers_are_reported()
    {
        await using var database = await LargeAsync();
        var environment = Environment(database);
        var file = (await RunAsync(environment, "db", "backup")).Split("  (")[0];
        await using (var killed = CapsulProgram.Start(environment, "db", "restore", "--beside", file))
        {
            await killed.AwaitSaidAsync("restoring into", Limit);
            await killed.KillAsync();
        }
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM large", null, Cancel)).ShouldBe(200_000);
        var left = (await DatabasesAsync(database.Db, Name(database) + "_restored_%")).ShouldHaveSingleItem();
        await Until.TrueAsync("doctor reports it", Limit, async () =>
            (await CapsulProgram.RunAsync(environment, Cancel, "doctor")).Output.Contains(
            $"capsul sql -c 'DROP DATABASE \"{left}\"'", StringComparison.Ordinal));
        await RunAsync(environment, "sql", "-c", $"DROP DATABASE \"{left}\"");
    }

    [Fact]
    public async Task Ctrl_c_that_also_reaches_the_programs_is_reported_as_an_interruption()
    {
        await using var database = await LargeAsync();
        var environment = Environment(database);
        var backup = new Command("setsid", "--wait", "bash", "-c", $"""
            env --default-signal=INT '{CapsulProgram.File}' db backup & mine=$!
            until psql -Atc "SELECT 1 FROM pg_stat_activity WHERE application_name = 'capsul pg_dump'
                AND datname = current_database()" | grep -q 1; do :; done
            pkill -INT -P $mine; kill -INT $mine; wait $mine
            """)
        {
            Environment = new Dictionary<string, string?>(
                database.Db.Address.ForPrograms("test"), StringComparer.Ordinal)
        };
        foreach (var (name, value) in environment) ((Dictionary<string, string?>)backup.Environment)[name] = value;
        var ended = await backup.TryRunAsync(Cancel);
        ended.ExitCode.ShouldBe(130, ended.Error);
        (await database.Db.ListAsync<string>("SELECT problem FROM backups", null, Cancel))
            .ShouldBe(["It was interrupted."]);
        Directory.GetFiles(environment["CAPSUL_DATA"], "*.part", SearchOption.AllDirectories).ShouldBeEmpty();
    }

    [Fact]
    public async Task An_invalid_statement_in_a_large_backup_ends_the_restore()
    {
        await using var database = await LargeAsync();
        var environment = Environment(database);
        var sql = (await new Command("pg_dump")
        {
            Environment = database.Db.Address.ForPrograms("test"),
            ReadOutput = async (output, cancel) =>
        {
            using var text = new StreamReader(output);
            await using var broken = new StreamWriter(
                new GZipStream(File.Create(Path.Combine(environment["CAPSUL_DATA"], "broken.gz")),
                CompressionLevel.Fastest));
            await broken.WriteAsync((await text.ReadToEndAsync(cancel))
                .Replace("CREATE TABLE public.alerts ", "CREATE TABEL public.alerts ", StringComparison.Ordinal));
        }
        }.RunAsync(Cancel)).ExitCode;
        sql.ShouldBe(0);
        await using var empty = await TestDatabase.CreateEmptyAsync();
        environment["CAPSUL_DATABASE"] = empty.ConnectionString;
        var refused = await CapsulProgram.RunAsync(environment, Cancel,
            "db", "restore", Path.Combine(environment["CAPSUL_DATA"], "broken.gz"));
        (refused.ExitCode, refused.Error).ShouldSatisfyAllConditions(r =>
            r.ExitCode.ShouldBe(64), r => r.Error.ShouldContain("at or near \"TABEL\". Nothing of it was kept."));
    }

    [Fact]
    public async Task A_database_in_use_is_disconnected_first_or_not_touched()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environment = Environment(database);
        var file = (await RunAsync(environment, "db", "backup")).Split("  (")[0];
        var name = Name(database);
        await database.Db.ExecuteAsync(
            $"CREATE ROLE plain_{name} LOGIN CREATEDB PASSWORD 'p'; ALTER DATABASE {name} OWNER TO plain_{name};",
            null, Cancel);
        await using (var theirs = await database.Db.OpenAloneAsync("somebody's psql", Cancel))
        {
            environment["CAPSUL_DATABASE"] = new NpgsqlConnectionStringBuilder(
                database.ConnectionString)
            { Username = "plain_" + name, Password = "p" }.ConnectionString;
            var refused = await CapsulProgram.RunAsync(environment, Cancel, "db", "restore", "--beside", file);
            (refused.ExitCode, refused.Error).ShouldSatisfyAllConditions(r =>
                r.ExitCode.ShouldBe(73), r => r.Error.ShouldContain($"user postgres, pid {theirs.ProcessID})"));
            (await DatabasesAsync(database.Db, name + "\\_%")).ShouldBeEmpty();

            environment["CAPSUL_DATABASE"] = database.ConnectionString;
            (await RunAsync(environment, "db", "restore", "--beside", file))
                .ShouldContain("The previous database is now called");
        }
        NpgsqlConnection.ClearAllPools();
        await using var now =
            new Db(new NpgsqlConnectionStringBuilder(database.ConnectionString) { Pooling = false }.ConnectionString);
        (await now.FindAsync<int>("SELECT count(*)::integer FROM backups WHERE finished IS NULL", null, Cancel))
            .ShouldBe(0, "the backup contains its own unfinished row");
        (await now.FindAsync<long>("SELECT epoch FROM seat", null, Cancel)).ShouldBe(1_000_000);
        foreach (var old in await DatabasesAsync(now, name + "\\_before\\_%"))
            await RunAsync(environment, "sql", "-c", $"DROP DATABASE {old}");
        await now.ExecuteAsync($"DROP OWNED BY plain_{name}; DROP ROLE plain_{name}", null, Cancel);
    }

    [Fact]
    public async Task A_database_with_only_an_extensions_views_is_empty()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        await database.Db.ExecuteAsync("CREATE EXTENSION pg_stat_statements", null, Cancel);
        (await database.Db.FindAsync<int>(BackupSql.TableCount, null, Cancel)).ShouldBe(0);
    }
}
