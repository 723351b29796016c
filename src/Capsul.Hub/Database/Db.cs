using System.Data;
using System.Net;
using Capsul.Foundation;
using Dapper;
using Npgsql;

namespace Capsul.Hub.Database;

/// <summary>
/// The way to PostgreSQL: opens connections and runs transactions. SQL stands in the <c>*Sql.cs</c> files beside its rows.
/// Times are <see cref="DateTime"/> in UTC (timestamptz), money is <see cref="decimal"/> dollars (numeric).
/// </summary>
public sealed class Db : IAsyncDisposable
{
    readonly NpgsqlDataSource source;

    static Db()
    {
        DefaultTypeMap.MatchNamesWithUnderscores = true;
        SqlMapper.AddTypeHandler(new AddressHandler());
    }

    /// <param name="connectionString">Npgsql's format; see <c>CAPSUL_DATABASE</c>.</param>
    public Db(string connectionString)
    {
        NpgsqlConnectionStringBuilder parts;
        try
        {
            parts = new NpgsqlConnectionStringBuilder(connectionString);
        }
        catch (ArgumentException error)
        {
            throw new ProblemException(ProblemKind.Invalid, $"CAPSUL_DATABASE is not a connection string: {error.Message}", null, error);
        }
        parts.ApplicationName ??= "capsul";
        if (parts.MaxPoolSize > MaxConnections) parts.MaxPoolSize = MaxConnections;
        // The statements are constants, so that the server need plan each only once a connection.
        if (parts.MaxAutoPrepare == 0) parts.MaxAutoPrepare = MaxPrepared;
        ConnectionString = parts.ConnectionString;
        source = new NpgsqlDataSourceBuilder(ConnectionString).Build();
    }

    /// <summary>Most pooled connections of one Hub process; PostgreSQL's own default allows 100 in all.</summary>
    public const int MaxConnections = 40;

    /// <summary>Prepared statements of one connection; there are about a hundred in the program.</summary>
    const int MaxPrepared = 200;

    /// <summary>With password; for child programs and connections that stand outside the pool. Never for the log.</summary>
    public string ConnectionString { get; }

    /// <summary>A pooled connection, open.</summary>
    public async Task<NpgsqlConnection> OpenAsync(CancellationToken cancel) => await source.OpenConnectionAsync(cancel);

    /// <summary>
    /// Runs <paramref name="work"/> in one transaction; commits when it returns, rolls back when it throws or returns a problem.
    /// A serialization failure or deadlock is tried again, three times in all, so <paramref name="work"/> must touch PostgreSQL only.
    /// </summary>
    public async Task<Outcome<T>> DecideAsync<T>(Func<NpgsqlTransaction, Task<Outcome<T>>> work, CancellationToken cancel)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await using var connection = await OpenAsync(cancel);
                await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.ReadCommitted, cancel);
                var outcome = await work(transaction);
                if (outcome.Problem is null)
                    await transaction.CommitAsync(cancel);
                return outcome;
            }
            catch (PostgresException error) when (error.IsTransient && attempt < 3)
            {
                // Deadlock or serialization: nothing was committed; go again.
            }
            catch (ProblemException error)
            {
                // Rolled back with the transaction; for refusals that are only found half way.
                return error.Problem;
            }
            catch (PostgresException error) when (Constraints.Explain(error) is { } problem)
            {
                return problem;
            }
        }
    }

    /// <summary>Runs <paramref name="work"/> in one transaction and commits.</summary>
    public async Task<T> InTransactionAsync<T>(Func<NpgsqlTransaction, Task<T>> work, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.ReadCommitted, cancel);
        var value = await work(transaction);
        await transaction.CommitAsync(cancel);
        return value;
    }

    /// <summary>Rows of one statement, outside any transaction.</summary>
    public async Task<IReadOnlyList<T>> ListAsync<T>(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return [.. await connection.QueryAsync<T>(new CommandDefinition(sql, parameters, cancellationToken: cancel))];
    }

    /// <summary>The one row of a statement, or null.</summary>
    public async Task<T?> FindAsync<T>(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.QuerySingleOrDefaultAsync<T>(new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    /// <summary>Runs one statement in a transaction of its own; gives the number of rows.</summary>
    public async Task<int> ExecuteAsync(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.ExecuteAsync(new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    public ValueTask DisposeAsync() => source.DisposeAsync();

    sealed class AddressHandler : SqlMapper.TypeHandler<IPAddress>
    {
        public override void SetValue(IDbDataParameter parameter, IPAddress? value) => parameter.Value = value;

        public override IPAddress? Parse(object value) => (IPAddress)value;
    }
}

/// <summary>The same three verbs inside a transaction.</summary>
public static class TransactionVerbs
{
    public static async Task<IReadOnlyList<T>> ListAsync<T>(this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        [.. await transaction.Connection!.QueryAsync<T>(new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel))];

    public static Task<T?> FindAsync<T>(this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        transaction.Connection!.QuerySingleOrDefaultAsync<T>(new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel));

    public static Task<int> ExecuteAsync(this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        transaction.Connection!.ExecuteAsync(new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel));
}
