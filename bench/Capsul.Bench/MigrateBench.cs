using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;
using System.Text;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using DbUp;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Bench;

/// <summary>
/// What migrations cost. A start with nothing to do, with 5,000 applied scripts inside an assembly, as both products
/// have them, beyond what connecting costs, in turn with DbUp on the same assembly; beside it the first start of a new
/// build, which compares all scripts. And 500 scripts applied, in turn with one psql process on the same files, each in
/// a transaction. Private cluster, fsync on.
/// </summary>
static class MigrateBench
{
    const int Many = 5_000, Some = 500, Rounds = 7, ApplyRounds = 3;
    const double MaxBeyondMs = 200, MinFaster = 10, MaxToPsql = 1.25;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        var settings = Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = folder });
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        try
        {
            var (beyond, comparing, faster) = await NothingToDoAsync(Write(Path.Combine(folder, "many"), Many),
                connection, cancel);
            var toPsql = await ApplyAsync(Write(Path.Combine(folder, "some"), Some), connection, cancel);
            return Figures.Verdict(check, beyond <= MaxBeyondMs && comparing <= MaxBeyondMs
                && faster >= MinFaster && toPsql <= MaxToPsql,
                $"migrate: nothing to do with {Many} scripts takes {Ms(beyond)} ms beyond connecting, "
                + $"the first start of a new build {Ms(comparing)} ms (bar {Figures.Text(MaxBeyondMs, "0")} ms each), "
                + $"{Figures.Text(faster, "0.0")} times faster than DbUp, connecting included on both sides "
                + $"(bar {Figures.Text(MinFaster, "0")}); {Some} scripts take {Figures.Text(toPsql)} of one "
                + $"psql process (bar {Figures.Text(MaxToPsql)})");
        }
        finally
        {
            NpgsqlConnection.ClearAllPools();
            await server.StopAsync(CancellationToken.None);
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Tables as real ones are: constraints, a comment, an index; 1 to 2 kB a script.</summary>
    static string Write(string folder, int count)
    {
        Directory.CreateDirectory(folder);
        for (var n = 1; n <= count; n++)
        {
            var text = new StringBuilder(
                $"-- Version {n}: what the shop of part {n} keeps of its orders, who they are for, and when they left "
                + "the house.\n");
            text.Append(CultureInfo.InvariantCulture, $"""
                CREATE TABLE orders_{n} (
                    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                    -- Kept in lower case, so that it is compared without case.
                    email       text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
                    created     timestamptz NOT NULL DEFAULT now(),
                    state       text NOT NULL DEFAULT 'new'
                                CHECK (state IN ('new', 'paid', 'sent', 'returned', 'cancelled')),
                    dollars     numeric(12,2) NOT NULL CHECK (dollars >= 0),
                    -- Empty until it left the house.
                    sent        timestamptz,
                    note        text NOT NULL DEFAULT '',
                    CONSTRAINT orders_{n}_sent_after CHECK (sent IS NULL OR sent >= created)
                );
                CREATE INDEX orders_{n}_email ON orders_{n} (email, created);
                CREATE INDEX orders_{n}_due ON orders_{n} (created) WHERE sent IS NULL AND state = 'paid';
                COMMENT ON TABLE orders_{n} IS
                    'Orders of part {n}: who bought what, for how much, and whether it has been sent.';
                COMMENT ON COLUMN orders_{n}.note IS
                    'What the customer wrote into the field for remarks; shown on the label and nowhere else.';
                """);
            File.WriteAllText(Path.Combine(folder, $"{n:0000}_up_orders_{n}.sql"), text.Append('\n').ToString());
        }
        return folder;
    }

    static async Task<(double Beyond, double Comparing, double Faster)> NothingToDoAsync(
        string folder, string connection, CancellationToken cancel)
    {
        var scripts = Embed(folder);
        var (ours, theirs) = (await MakeDatabaseAsync(connection, "ours", cancel),
            await MakeDatabaseAsync(connection, "theirs", cancel));
        await using var db = new Db(ours);
        var clock = Stopwatch.StartNew();
        await MigratorOf(db, MigrationScripts.FromAssembly(scripts)).MigrateAsync(cancel);
        Console.WriteLine($"{Many} scripts applied in {Figures.Text(clock.Elapsed.TotalSeconds, "0.0")} s");
        Must(DbUpOf(theirs, scripts).MarkAsExecuted());
        Console.WriteLine(
            "round   connecting   new build   beyond it   nothing to do   beyond it     DbUp   beyond it");
        var (connects, starts, compares, theirStarts) = (new List<double>(),
            new List<double>(), new List<double>(), new List<double>());
        for (var n = 1; n <= Rounds; n++)
        {
            var connecting = await TimeAsync(async () => await (await db.OpenAloneAsync("capsul bench", cancel))
                .DisposeAsync());
            await db.ExecuteAsync(MigrateBenchSql.ForgetBuild, null, cancel);
            NpgsqlConnection.ClearAllPools();
            var compared = await NothingAsync();
            var capsul = await NothingAsync();
            // A start connects anew, whoever starts.
            NpgsqlConnection.ClearAllPools();
            var dbUp = await TimeAsync(() =>
            {
                Must(DbUpOf(theirs, scripts).PerformUpgrade());
                return Task.CompletedTask;
            });
            connects.Add(connecting);
            starts.Add(capsul);
            compares.Add(compared);
            theirStarts.Add(dbUp);
            Console.WriteLine(
                $"{n,5}   {Ms(connecting),10}   {Ms(compared),9}   {Ms(compared - connecting),9}   {Ms(capsul),13}   "
                + $"{Ms(capsul - connecting),9}   {Ms(dbUp),6}   {Ms(dbUp - connecting),9}");
        }
        // All connect anew each time; what that costs is not what the bar is about, and is part of the comparison.
        var connect = Figures.Median(connects);
        return (Figures.Median(starts) - connect, Figures.Median(compares) - connect,
            Figures.Median(theirStarts) / Figures.Median(starts));

        Task<double> NothingAsync() => TimeAsync(async () =>
        {
            if (await MigratorOf(db, MigrationScripts.FromAssembly(scripts)).MigrateAsync(cancel) != 0)
                throw new InvalidOperationException("There was something to do.");
        });
    }

    static string Ms(double value) => Figures.Text(value, "0.0");

    /// <summary>An assembly with the files as resources, as a compiler would write it.</summary>
    static Assembly Embed(string folder)
    {
        var builder = new PersistedAssemblyBuilder(new AssemblyName("Scripts"), typeof(object).Assembly);
        builder.DefineDynamicModule("Scripts");
        var metadata = builder.GenerateMetadata(out var code, out _);
        var resources = new BlobBuilder();
        foreach (var file in Directory.GetFiles(folder).Order(StringComparer.Ordinal))
        {
            metadata.AddManifestResource(ManifestResourceAttributes.Public,
                metadata.GetOrAddString($"migrations/{Path.GetFileName(file)}"), default, (uint)resources.Count);
            var bytes = File.ReadAllBytes(file);
            resources.WriteInt32(bytes.Length);
            resources.WriteBytes(bytes);
            resources.Align(8);
        }
        var image = new BlobBuilder();
        new ManagedPEBuilder(PEHeaderBuilder.CreateLibraryHeader(), new MetadataRootBuilder(metadata),
            code, managedResources: resources).Serialize(image);
        var assembly = Path.Combine(folder, "Scripts.dll");
        File.WriteAllBytes(assembly, image.ToArray());
        return Assembly.LoadFrom(assembly);
    }

    static async Task<double> ApplyAsync(string folder, string connection, CancellationToken cancel)
    {
        var files = Directory.GetFiles(folder).Order(StringComparer.Ordinal).ToList();
        var all = Path.Combine(folder, "all.psql");
        await File.WriteAllLinesAsync(all, files.Select(f => $"BEGIN;\n\\i {f}\nCOMMIT;"), cancel);
        Console.WriteLine(
            $"round   Capsul, {Some} scripts   psql, a process each   ratio   psql, one process for all   ratio");
        var ratios = new List<double>();
        for (var n = 1; n <= ApplyRounds; n++)
        {
            await using var db = new Db(await MakeDatabaseAsync(connection, $"ours_{n}", cancel));
            var capsul = await TimeAsync(() => MigratorOf(db, MigrationScripts.FromFolder(folder))
                .MigrateAsync(cancel));
            var each = DatabaseAddress.Of(await MakeDatabaseAsync(connection, $"each_{n}", cancel));
            var psql = await TimeAsync(async () =>
            {
                foreach (var file in files)
                    await PostgresPrograms.Make(null, each, "psql", "-X",
                    "-q", "-v", "ON_ERROR_STOP=1", "-1", "-f", file).RunAsync(cancel);
            });
            var once = DatabaseAddress.Of(await MakeDatabaseAsync(connection, $"once_{n}", cancel));
            var single = await TimeAsync(() =>
                PostgresPrograms.Make(null, once, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", all)
                .RunAsync(cancel));
            ratios.Add(capsul / single);
            Console.WriteLine($"{n,5}   {Figures.Text(capsul, "0"),16} ms   {Figures.Text(psql, "0"),17} ms   "
                + $"{Figures.Text(capsul / psql),5}   {Figures.Text(single, "0"),22} ms   "
                + $"{Figures.Text(ratios[^1]),5}");
        }
        return Figures.Median(ratios);
    }

    static Migrator MigratorOf(Db db, MigrationScripts scripts) =>
        new(db, NullLogger.Instance) { Rules = new MigrationRules { Scripts = scripts } };

    static DbUp.Engine.UpgradeEngine DbUpOf(string connection, Assembly scripts) =>
        DeployChanges.To.PostgresqlDatabase(connection).WithScriptsEmbeddedInAssembly(scripts)
            .WithTransactionPerScript().LogToNowhere().Build();

    static void Must(DbUp.Engine.DatabaseUpgradeResult result)
    {
        if (!result.Successful) throw new InvalidOperationException("DbUp failed.", result.Error);
    }

    static async Task<string> MakeDatabaseAsync(string connection, string name, CancellationToken cancel)
    {
        var maintenance = new NpgsqlConnectionStringBuilder(connection) { Database = "postgres", Pooling = false };
        await using var open = new NpgsqlConnection(maintenance.ConnectionString);
        await open.OpenAsync(cancel);
        await using var create = new NpgsqlCommand($"CREATE DATABASE {name}", open);
        await create.ExecuteNonQueryAsync(cancel);
        return new NpgsqlConnectionStringBuilder(connection) { Database = name }.ConnectionString;
    }

    /// <summary>Milliseconds.</summary>
    static async Task<double> TimeAsync(Func<Task> work)
    {
        var clock = Stopwatch.StartNew();
        await work();
        return clock.Elapsed.TotalMilliseconds;
    }
}

static class MigrateBenchSql
{
    /// <summary>As the first start of a new build finds it.</summary>
    public const string ForgetBuild = "UPDATE schema_scripts SET compared_with = ''";
}
