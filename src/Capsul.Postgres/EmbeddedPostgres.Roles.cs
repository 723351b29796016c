using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Npgsql;

namespace Capsul.Postgres;

/// <summary>Roles of a private cluster: Capsul uses a role without server privileges.</summary>
public sealed partial class EmbeddedPostgres
{
    /// <summary>File with the administrator's password. A cluster of an older program has none yet.</summary>
    string AdministratorFile => Path.Combine(folder, "administrator");

    /// <summary>Connection string for what needs a superuser, on database postgres.</summary>
    public Task<string> AdministratorAsync(CancellationToken cancel) =>
        AddressAsync(File.Exists(AdministratorFile) ? ClusterSql.Administrator : ClusterSql.Everyday,
            File.Exists(AdministratorFile) ? AdministratorFile : PasswordFile, "postgres", cancel);

    Task<string> ConnectionStringAsync(CancellationToken cancel) =>
        AddressAsync(ClusterSql.Everyday, PasswordFile, ClusterSql.Database, cancel);

    async Task<string> AddressAsync(string role, string passwordFile, string database, CancellationToken cancel) =>
        new NpgsqlConnectionStringBuilder
        {
            Host = SocketFolder,
            Username = role,
            Password = await ReadAsync(passwordFile, cancel),
            Database = database,
        }.ConnectionString;

    /// <summary>As the cluster's user, who could have put a link there: root reads nothing for it.</summary>
    async Task<string> ReadAsync(string file, CancellationToken cancel)
    {
        await FindUserAsync(cancel);
        return (user is null ? await File.ReadAllTextAsync(file, cancel)
            : (await user.Run("cat", "--", file).RunAsync(cancel)).Output).Trim();
    }

    async Task<string> WritePasswordAsync(string file, CancellationToken cancel)
    {
        var password = RandomNumberGenerator.GetHexString(32, lowercase: true);
        await DataFolder.WriteWholeAsync(file, Encoding.ASCII.GetBytes(password), cancel);
        if (user is not null) await new Command("chown", "-h", $"{user.Name}:", file).RunAsync(cancel);
        return password;
    }

    /// <summary>
    /// Creates the everyday role and its database. Its password is written last, and marks the cluster as complete.
    /// </summary>
    async Task EnsureRolesAsync(CancellationToken cancel)
    {
        await using var connection = await OpenAsync(await AdministratorAsync(cancel), cancel);
        if (!File.Exists(PasswordFile))
        {
            var file = PasswordFile + ".made";
            var password = await WritePasswordAsync(file, cancel);
            await ExecuteAsync(connection,
                ClusterSql.MakeEveryday(await AskAsync(connection, ClusterSql.RoleExists, cancel), password), cancel);
            File.Move(file, PasswordFile, overwrite: true);
        }
        if (!await AskAsync(connection, ClusterSql.DatabaseExists, cancel))
            await ExecuteAsync(connection, ClusterSql.MakeDatabase, cancel);
    }

    /// <summary>
    /// An older program used the cluster's bootstrap role, a superuser. It is replaced by a role with the same name and
    /// password that is not a superuser. Each step may already have been done by a start that was killed.
    /// </summary>
    async Task DemoteAsync(CancellationToken cancel)
    {
        var file = AdministratorFile + ".made";
        if (!File.Exists(file)) await WritePasswordAsync(file, cancel);
        var password = await ReadAsync(file, cancel);
        await using (var first = await OpenAsync(
            await AddressAsync(ClusterSql.Everyday, PasswordFile, "postgres", cancel), cancel))
        {
            if (await AskAsync(first, ClusterSql.EverydayIsSuperuser, cancel))
                await ExecuteAsync(first, ClusterSql.MakeAdministrator(password), cancel);
        }
        var administrator = await AddressAsync(ClusterSql.Administrator, file, "postgres", cancel);
        foreach (var database in await ReplaceFirstRoleAsync(administrator, cancel))
        {
            await using var connection = await OpenAsync(
                new NpgsqlConnectionStringBuilder(administrator) { Database = database }.ConnectionString, cancel);
            await ExecuteAsync(connection, ClusterSql.HandOver, cancel);
        }
        File.Move(file, AdministratorFile, overwrite: true);
        Log.Demoted(log);
    }

    /// <summary>Returns the databases whose objects remain to be transferred.</summary>
    async Task<IReadOnlyList<string>> ReplaceFirstRoleAsync(string administrator, CancellationToken cancel)
    {
        await using var connection = await OpenAsync(administrator, cancel);
        if (await AskAsync(connection, ClusterSql.EverydayIsSuperuser, cancel))
        {
            var password = (await File.ReadAllTextAsync(PasswordFile, cancel)).Trim();
            // One transaction: the protocol runs several statements in one text as one.
            await ExecuteAsync(connection, ClusterSql.SetFirstAside + ClusterSql.MakeEveryday(exists: false, password),
                cancel);
        }
        await using var list = new NpgsqlCommand(ClusterSql.Databases, connection);
        await using var reader = await list.ExecuteReaderAsync(cancel);
        var databases = new List<string>();
        while (await reader.ReadAsync(cancel)) databases.Add(reader.GetString(0));
        return databases;
    }

    static async Task<NpgsqlConnection> OpenAsync(string connectionString, CancellationToken cancel)
    {
        var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ConnectionString);
        await connection.OpenAsync(cancel);
        return connection;
    }

    static async Task<bool> AskAsync(NpgsqlConnection connection, string sql, CancellationToken cancel)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return await command.ExecuteScalarAsync(cancel) is true;
    }

    static async Task ExecuteAsync(NpgsqlConnection connection, string sql, CancellationToken cancel)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(cancel);
    }
}
