using System.Data;
using System.Net;
using System.Security.Authentication;
using Capsul.Foundation;
using Dapper;
using Npgsql;

namespace Capsul.Postgres;

/// <summary>
/// Access to PostgreSQL: opens connections and runs transactions. SQL is in the <c>*Sql.cs</c> files beside its
/// rows. Times are <see cref="DateTime"/> in UTC (timestamptz), money is <see cref="decimal"/> dollars (numeric).
/// </summary>
public sealed class Db : IAsyncDisposable
{
    /// <summary>Created on first use: it would slow down commands that need only one dedicated connection.</summary>
    readonly Lazy<NpgsqlDataSource> source;

    /// <param name="connectionString">Npgsql's format or a URI; see <c>CAPSUL_DATABASE</c>.</param>
    public Db(string connectionString)
    {
        Address = DatabaseAddress.Of(connectionString);
        var parts = new NpgsqlConnectionStringBuilder(Address.ConnectionString);
        parts.ApplicationName ??= "capsul";
        if (parts.MaxPoolSize > MaxConnections) parts.MaxPoolSize = MaxConnections;
        // The statements are constants, so the server need plan each only once per connection.
        if (parts.MaxAutoPrepare == 0) parts.MaxAutoPrepare = MaxPrepared;
        // What is run twice will be run again; by default each connection would plan it four times first.
        if (parts.AutoPrepareMinUsages > PrepareAt) parts.AutoPrepareMinUsages = PrepareAt;
        // Nothing that uses the pool leaves session state behind (a test); a reset would be sent with every checkout.
        parts.NoResetOnClose = true;
        if (IsMultiHost(parts)) Wanted(parts);
        source = new Lazy<NpgsqlDataSource>(() => Build(parts));
    }

    static bool IsMultiHost(NpgsqlConnectionStringBuilder parts) =>
        parts.Host?.Contains(',', StringComparison.Ordinal) == true;

    /// <summary>
    /// With several hosts, uses the one that accepts writes, and searches again as soon as it does not.
    /// </summary>
    static NpgsqlDataSource Build(NpgsqlConnectionStringBuilder parts)
    {
        if (!IsMultiHost(parts)) return Builder(parts).Build();
        var wanted = Wanted(parts);
        parts.TargetSessionAttributes = null;
        if (!parts.ContainsKey("Host Recheck Seconds") || parts.HostRecheckSeconds > RecheckSeconds)
            parts.HostRecheckSeconds = RecheckSeconds;
        return Builder(parts).BuildMultiHost().WithTargetSession(wanted);
    }

    /// <summary>By a statement and not by options of the connection, because poolers refuse such options.</summary>
    static NpgsqlDataSourceBuilder Builder(NpgsqlConnectionStringBuilder parts) =>
        new NpgsqlDataSourceBuilder(parts.ConnectionString).UsePhysicalConnectionInitializer(
            connection =>
            {
                using var set = new NpgsqlCommand(ServerSql.Planning, connection);
                set.ExecuteNonQuery();
            },
            async connection =>
            {
                await using var set = new NpgsqlCommand(ServerSql.Planning, connection);
                await set.ExecuteNonQueryAsync();
            });

    static TargetSessionAttributes Wanted(NpgsqlConnectionStringBuilder parts) => parts.TargetSessionAttributes switch
    {
        null or "" or "any" or "primary" => TargetSessionAttributes.Primary,
        "read-write" => TargetSessionAttributes.ReadWrite,
        var other => throw new ProblemException(ProblemKind.Invalid,
            $"CAPSUL_DATABASE has target session \"{other}\"; a Hub writes, so it must be primary or read-write."),
    };

    /// <summary>
    /// Maximum number of pooled connections of one Hub process; PostgreSQL's default allows 100 in total.
    /// </summary>
    public const int MaxConnections = 40;

    /// <summary>
    /// Prepared statements per connection. The program has some six hundred, of which most are run rarely; they make
    /// room for each other.
    /// </summary>
    const int MaxPrepared = 200;

    /// <summary>A connection prepares a statement when it runs it for this time.</summary>
    const int PrepareAt = 2;

    /// <summary>
    /// How long Npgsql caches the state of each of several hosts, seconds: the maximum delay of a failover in addition
    /// to the election.
    /// </summary>
    const int RecheckSeconds = 1;

    /// <summary>For child programs and connections outside the pool.</summary>
    public DatabaseAddress Address { get; }

    /// <summary>
    /// An open connection outside the pool, for session state: locks, LISTEN, settings. The caller closes it. Throws
    /// Npgsql's exceptions, which <see cref="Explain"/> turns into a problem.
    /// </summary>
    public Task<NpgsqlConnection> OpenAloneAsync(
        string applicationName, CancellationToken cancel, Action<NpgsqlConnectionStringBuilder>? configure = null)
    {
        Rows.Ready();
        return OpenBareAsync(applicationName, cancel, configure);
    }

    /// <summary>The same without loading Dapper, which takes time, for callers that do not need it.</summary>
    internal async Task<NpgsqlConnection> OpenBareAsync(
        string applicationName, CancellationToken cancel, Action<NpgsqlConnectionStringBuilder>? configure = null)
    {
        var parts = new NpgsqlConnectionStringBuilder(Address.ConnectionString)
        {
            Pooling = false,
            ApplicationName = applicationName
        };
        if (IsMultiHost(parts))
        {
            parts.TargetSessionAttributes = Wanted(parts) == TargetSessionAttributes.ReadWrite
                ? "read-write" : "primary";
            parts.HostRecheckSeconds = RecheckSeconds;
        }
        configure?.Invoke(parts);
        var connection = new NpgsqlConnection(parts.ConnectionString);
        try
        {
            await connection.OpenAsync(cancel);
            return connection;
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    const string TlsAdvice =
        "Set CAPSUL_DATABASE_ROOT_CERTIFICATE (or sslrootcert) to the certificate file of the CA that signed it, and "
        + "for verify-full connect by the name in the certificate.";

    /// <summary>Explains to people why the server cannot be reached, or refuses.</summary>
    public Problem Explain(Exception error) => new(ProblemKind.Unavailable, error switch
    {
        NpgsqlException { InnerException: AuthenticationException inner } =>
            $"PostgreSQL at {Address.Shown} did not present a trusted certificate: "
                + $"{inner.Message.TrimEnd('.')}. {TlsAdvice}",
        NpgsqlException { Message: var says }
            when says.Contains("SSL connection requested", StringComparison.Ordinal) =>
            $"PostgreSQL at {Address.Shown} does not offer TLS, which CAPSUL_DATABASE_TLS (or sslmode) requires.",
        PostgresException { SqlState: PostgresErrorCodes.InvalidAuthorizationSpecification, MessageText: var says }
            when says.Contains("no encryption", StringComparison.Ordinal) =>
            $"PostgreSQL at {Address.Shown} requires TLS: {says}. Set CAPSUL_DATABASE_TLS (or sslmode) to require or "
                + "verify-full.",
        PostgresException
        {
            SqlState: PostgresErrorCodes.InvalidPassword
            or PostgresErrorCodes.InvalidAuthorizationSpecification
        } refused =>
            $"PostgreSQL at {Address.Shown} rejected the user or password: {refused.MessageText}. Check "
                + "CAPSUL_DATABASE.",
        PostgresException other => $"PostgreSQL at {Address.Shown} answered: {other.MessageText}.",
        _ => $"PostgreSQL at {Address.Shown} cannot be reached: {error.InnerException?.Message ?? error.Message}. "
            + "Check CAPSUL_DATABASE and that the server runs.",
    }, error.ToString());

    /// <summary>An open connection from the pool.</summary>
    public async Task<NpgsqlConnection> OpenAsync(CancellationToken cancel)
    {
        Rows.Ready();
        return await source.Value.OpenConnectionAsync(cancel);
    }

    /// <summary>The same for callers that are not async.</summary>
    public NpgsqlConnection Open()
    {
        Rows.Ready();
        return source.Value.OpenConnection();
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

    /// <summary>The same for work without a result.</summary>
    public async Task InTransactionAsync(Func<NpgsqlTransaction, Task> work, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.ReadCommitted, cancel);
        await work(transaction);
        await transaction.CommitAsync(cancel);
    }

    /// <summary>Rows of one statement, outside any transaction.</summary>
    public async Task<IReadOnlyList<T>> ListAsync<T>(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return [.. await connection.QueryAsync<T>(new CommandDefinition(sql, parameters, cancellationToken: cancel))];
    }

    /// <summary>
    /// Rows that consist of two. The second one begins with the column <c>id</c>, and is null if that is.
    /// </summary>
    public async Task<IReadOnlyList<(TFirst First, TSecond? Second)>> ListPairsAsync<TFirst, TSecond>(
        string sql, object? parameters, CancellationToken cancel) where TSecond : class
    {
        await using var connection = await OpenAsync(cancel);
        return [.. await connection.QueryAsync<TFirst, TSecond?, (TFirst, TSecond?)>(
            new CommandDefinition(sql, parameters, cancellationToken: cancel), (first, second) => (first, second))];
    }

    /// <summary>The one row of a statement, or null.</summary>
    public async Task<T?> FindAsync<T>(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.QuerySingleOrDefaultAsync<T>(
            new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    /// <summary>
    /// The single value of a statement that always returns a row; a missing row is an error, not 0 or false.
    /// </summary>
    /// <exception cref="InvalidOperationException">There was no row, or more than one.</exception>
    public async Task<T> AskAsync<T>(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.QuerySingleAsync<T>(new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    /// <summary>Runs one statement in its own transaction; returns the number of rows.</summary>
    public async Task<int> ExecuteAsync(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.ExecuteAsync(new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    public ValueTask DisposeAsync() => source.IsValueCreated ? source.Value.DisposeAsync() : ValueTask.CompletedTask;

    /// <summary>Dapper's configuration, once per process.</summary>
    static class Rows
    {
        static Rows()
        {
            DefaultTypeMap.MatchNamesWithUnderscores = true;
            SqlMapper.AddTypeHandler(new AddressHandler());
        }

        /// <summary>Does nothing: it only makes sure that the static constructor has run.</summary>
        public static void Ready() { }
    }

    sealed class AddressHandler : SqlMapper.TypeHandler<IPAddress>
    {
        public override void SetValue(IDbDataParameter parameter, IPAddress? value) => parameter.Value = value;

        public override IPAddress? Parse(object value) => (IPAddress)value;
    }
}

/// <summary>The same verbs inside a transaction.</summary>
public static class TransactionVerbs
{
    public static async Task<IReadOnlyList<T>> ListAsync<T>(
        this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        [.. await transaction.Connection!.QueryAsync<T>(
            new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel))];

    public static Task<T?> FindAsync<T>(
        this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        transaction.Connection!.QuerySingleOrDefaultAsync<T>(
            new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel));

    public static Task<T> AskAsync<T>(
        this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        transaction.Connection!.QuerySingleAsync<T>(
            new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel));

    /// <summary>
    /// Several statements in one round trip, whose rows are read in their order. Each sees what has been committed when
    /// it begins, so one behind a lock sees what the lock was waited for.
    /// </summary>
    public static Task<SqlMapper.GridReader> ReadTogetherAsync(
        this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        transaction.Connection!.QueryMultipleAsync(
            new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel));

    /// <param name="timeout">For a statement that goes through much; null: that of the connection.</param>
    public static Task<int> ExecuteAsync(this NpgsqlTransaction transaction, string sql, object? parameters,
        CancellationToken cancel, TimeSpan? timeout = null) =>
        transaction.Connection!.ExecuteAsync(new CommandDefinition(
            sql, parameters, transaction, (int?)timeout?.TotalSeconds, cancellationToken: cancel));
}
