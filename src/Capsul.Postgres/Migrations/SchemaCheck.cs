using System.Security.Cryptography;
using Capsul.Foundation;
using Dapper;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>One object that differs from what the scripts create.</summary>
/// <param name="What">missing, extra or changed, as seen from the live database.</param>
/// <param name="Golden">As the scripts create it; null for an extra one.</param>
/// <param name="Live">As it is in the live database; null for a missing one.</param>
public sealed record Drift(string What, string Kind, string Name, string? Golden, string? Live);

/// <summary>
/// Compares the live schema with the one that the scripts create. The scripts are run into a scratch database on the
/// same server, so that the same server describes both sides; then the two catalogs are compared object by object. The
/// scratch database is always dropped.
/// </summary>
public static class SchemaCheck
{
    const string Prefix = "capsul_verify_";

    /// <summary>
    /// The differences between the live schema and that of <paramref name="version"/>; empty when there are none.
    /// </summary>
    /// <exception cref="ProblemException">Forbidden: the user may not create databases. Unavailable: no
    /// server.</exception>
    public static Task<IReadOnlyList<Drift>> CompareAsync(
        Db db, MigrationScripts scripts, int version, CancellationToken cancel) =>
        Migrator.ExplainedAsync(db, async () =>
    {
        var live = await ReadAsync(db, cancel);
        var golden = await MakeAsync(db, scripts, version, cancel);
        return Compare(golden, live);
    });

    /// <summary>The version in schemaversion, without changing anything; null if there is no such table.</summary>
    public static Task<int?> VersionAsync(Db db, CancellationToken cancel) => Migrator.ExplainedAsync(db, async () =>
    {
        await using var connection = await Migrator.ConnectAsync(db, cancel);
        if (!await connection.ExecuteScalarAsync<bool>(new CommandDefinition(MigratorSql.TableExists,
            new { name = "schemaversion" }, cancellationToken: cancel))) return (int?)null;
        return MigrationState.One(
            (await connection.QueryAsync<int>(
            new CommandDefinition(ServerSql.SchemaVersion, cancellationToken: cancel))).AsList());
    });

    public static IReadOnlyList<Drift> Compare(
        IReadOnlyList<CatalogObject> golden, IReadOnlyList<CatalogObject> live)
    {
        var wanted = golden.ToDictionary(o => (o.Kind, o.Name));
        var real = live.ToDictionary(o => (o.Kind, o.Name));
        var drift = wanted.Values.Where(o => !real.ContainsKey((o.Kind, o.Name)))
            .Select(o => new Drift("missing", o.Kind, o.Name, o.Definition, null))
            .Concat(real.Values.Where(o => !wanted.ContainsKey((o.Kind, o.Name)))
                .Select(o => new Drift("extra", o.Kind, o.Name, null, o.Definition)))
            .Concat(from o in wanted.Values
                    where real.TryGetValue((o.Kind, o.Name), out var other) && other.Definition != o.Definition
                    select new Drift("changed", o.Kind, o.Name, o.Definition, real[(o.Kind, o.Name)].Definition));
        return [.. drift.OrderBy(d => d.Name, StringComparer.Ordinal).ThenBy(d => d.Kind, StringComparer.Ordinal)];
    }

    static async Task<IReadOnlyList<CatalogObject>> MakeAsync(
        Db db, MigrationScripts scripts, int version, CancellationToken cancel)
    {
        await using var connection = await Migrator.ConnectAsync(db, cancel);
        var name = $"{Prefix}{RandomNumberGenerator.GetHexString(12, lowercase: true)}";
        await CreateAsync(connection, name, cancel);
        try
        {
            await using var scratch =
                new Db(new NpgsqlConnectionStringBuilder(
                db.Address.For(name).ConnectionString)
                { Pooling = false }.ConnectionString);
            await new Migrator(scratch, NullLogger.Instance)
            {
                Rules =
                new MigrationRules { Scripts = scripts }
            }.MigrateAsync(version, allowDowngrade: false, cancel);
            return await ReadAsync(scratch, cancel);
        }
        finally
        {
            await connection.ExecuteAsync(new CommandDefinition(ScratchSql.DropDatabase(name),
                cancellationToken: CancellationToken.None));
        }
    }

    static async Task CreateAsync(NpgsqlConnection connection, string name, CancellationToken cancel)
    {
        try
        {
            await connection.ExecuteAsync(new CommandDefinition(ScratchSql.CreateDatabase(name),
                commandTimeout: 120, cancellationToken: cancel));
        }
        catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.InsufficientPrivilege)
        {
            throw new ProblemException(ProblemKind.Forbidden,
                "The schema is compared with one that the scripts create in a scratch database, and this user may not "
                    + "create databases. Allow it: ALTER ROLE … CREATEDB, or use another user for this run.",
                    error.ToString(), error);
        }
    }

    static async Task<IReadOnlyList<CatalogObject>> ReadAsync(Db db, CancellationToken cancel)
    {
        await using var connection = await Migrator.ConnectAsync(db, cancel);
        await connection.ExecuteAsync(new CommandDefinition(CatalogSql.EmptySearchPath, cancellationToken: cancel));
        return [.. await connection.QueryAsync<CatalogObject>(
            new CommandDefinition(CatalogSql.All, cancellationToken: cancel))];
    }
}
