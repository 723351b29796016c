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
    /// <summary>Made when it is first asked for: a verb that needs one lone connection has no time for it.</summary>
    readonly Lazy<NpgsqlDataSource> source;

    /// <param name="connectionString">Npgsql's format or a URI; see <c>CAPSUL_DATABASE</c>.</param>
    public Db(string connectionString)
    {
        Address = DatabaseAddress.Of(connectionString);
        var parts = new NpgsqlConnectionStringBuilder(Address.ConnectionString);
        parts.ApplicationName ??= "capsul";
        if (parts.MaxPoolSize > MaxConnections) parts.MaxPoolSize = MaxConnections;
        // The statements are constants, so that the server need plan each only once a connection.
        if (parts.MaxAutoPrepare == 0) parts.MaxAutoPrepare = MaxPrepared;
        if (IsMultiHost(parts)) Wanted(parts);
        source = new Lazy<NpgsqlDataSource>(() => Build(parts));
    }

    static bool IsMultiHost(NpgsqlConnectionStringBuilder parts) =>
        parts.Host?.Contains(',', StringComparison.Ordinal) == true;

    /// <summary>
    /// Of several hosts the one that takes writes is used, and looked for again as soon as it does not.
    /// </summary>
    static NpgsqlDataSource Build(NpgsqlConnectionStringBuilder parts)
    {
        if (!IsMultiHost(parts)) return new NpgsqlDataSourceBuilder(parts.ConnectionString).Build();
        var wanted = Wanted(parts);
        parts.TargetSessionAttributes = null;
        if (!parts.ContainsKey("Host Recheck Seconds") || parts.HostRecheckSeconds > RecheckSeconds)
            parts.HostRecheckSeconds = RecheckSeconds;
        return new NpgsqlDataSourceBuilder(parts.ConnectionString).BuildMultiHost().WithTargetSession(wanted);
    }

    static TargetSessionAttributes Wanted(NpgsqlConnectionStringBuilder parts) => parts.TargetSessionAttributes switch
    {
        null or "" or "any" or "primary" => TargetSessionAttributes.Primary,
        "read-write" => TargetSessionAttributes.ReadWrite,
        var other => throw new ProblemException(ProblemKind.Invalid,
            $"CAPSUL_DATABASE asks for target session \"{other}\"; a Hub writes, so it must be primary or read-write."),
    };

    /// <summary>Most pooled connections of one Hub process; PostgreSQL's own default allows 100 in all.</summary>
    public const int MaxConnections = 40;

    /// <summary>Prepared statements of one connection; there are about a hundred in the program.</summary>
    const int MaxPrepared = 200;

    /// <summary>
    /// How long Npgsql trusts what it knows of each of several hosts, seconds: what a failover costs at most on top of
    /// the election.
    /// </summary>
    const int RecheckSeconds = 1;

    /// <summary>For child programs and connections that stand outside the pool.</summary>
    public DatabaseAddress Address { get; }

    /// <summary>
    /// An open connection outside the pool, for what belongs to a session: locks, LISTEN, settings. The caller closes
    /// it. Fails as Npgsql fails; <see cref="Explain"/> makes a sentence of that.
    /// </summary>
    public Task<NpgsqlConnection> OpenAloneAsync(
        string applicationName, CancellationToken cancel, Action<NpgsqlConnectionStringBuilder>? configure = null)
    {
        Rows.Ready();
        return OpenBareAsync(applicationName, cancel, configure);
    }

    /// <summary>The same for those who read no rows through Dapper, which takes its time to load.</summary>
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
        "Name the file of the authority that signed it in CAPSUL_DATABASE_ROOT_CERTIFICATE (or sslrootcert), and for "
        + "verify-full "
        + "connect by the name in the certificate.";

    /// <summary>What a person is told when the server cannot be reached, or refuses.</summary>
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
            $"PostgreSQL at {Address.Shown} refused the user or password: {refused.MessageText}. Check "
                + "CAPSUL_DATABASE.",
        PostgresException other => $"PostgreSQL at {Address.Shown} answered: {other.MessageText}.",
        _ => $"PostgreSQL at {Address.Shown} cannot be reached: {error.InnerException?.Message ?? error.Message}. "
            + "Check CAPSUL_DATABASE and that the server runs.",
    }, error.ToString());

    /// <summary>A pooled connection, open.</summary>
    public async Task<NpgsqlConnection> OpenAsync(CancellationToken cancel)
    {
        Rows.Ready();
        return await source.Value.OpenConnectionAsync(cancel);
    }

    /// <summary>The same for callers that know no async.</summary>
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

    /// <summary>The same for work that has nothing to give back.</summary>
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

    /// <summary>The one row of a statement, or null.</summary>
    public async Task<T?> FindAsync<T>(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.QuerySingleOrDefaultAsync<T>(
            new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    /// <summary>
    /// The one value of a statement that always gives a row; a missing row is an error, and never 0 or false.
    /// </summary>
    /// <exception cref="InvalidOperationException">There was no row, or more than one.</exception>
    public async Task<T> AskAsync<T>(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.QuerySingleAsync<T>(new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    /// <summary>Runs one statement in a transaction of its own; gives the number of rows.</summary>
    public async Task<int> ExecuteAsync(string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.ExecuteAsync(new CommandDefinition(sql, parameters, cancellationToken: cancel));
    }

    public ValueTask DisposeAsync() => source.IsValueCreated ? source.Value.DisposeAsync() : ValueTask.CompletedTask;

    /// <summary>How Dapper reads rows; once in a process.</summary>
    static class Rows
    {
        static Rows()
        {
            DefaultTypeMap.MatchNamesWithUnderscores = true;
            SqlMapper.AddTypeHandler(new AddressHandler());
        }

        /// <summary>Nothing more: what counts is that the constructor has run.</summary>
        public static void Ready() { }
    }

    sealed class AddressHandler : SqlMapper.TypeHandler<IPAddress>
    {
        public override void SetValue(IDbDataParameter parameter, IPAddress? value) => parameter.Value = value;

        public override IPAddress? Parse(object value) => (IPAddress)value;
    }
}

/// <summary>The same three verbs inside a transaction.</summary>
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

    public static Task<int> ExecuteAsync(
        this NpgsqlTransaction transaction, string sql, object? parameters, CancellationToken cancel) =>
        transaction.Connection!.ExecuteAsync(
            new CommandDefinition(sql, parameters, transaction, cancellationToken: cancel));
}
