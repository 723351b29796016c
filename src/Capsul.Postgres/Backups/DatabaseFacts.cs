using System.Globalization;
using Dapper;
using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>
/// What a database holds, in figures that a restored copy must have too: for each table the number of rows, and the sum
/// of each numeric column, which is where money is kept.
/// </summary>
public sealed record DatabaseFacts(IReadOnlyDictionary<string, string> Tables, long Rows)
{
    /// <summary>
    /// One table of the server's, and the statement that counts it, made by the server so that every name is quoted.
    /// </summary>
    sealed record TableRow(string Name, string Statement);

    sealed record FactRow(long Rows, string Sums);

    /// <summary>Reads them on one connection, inside whatever snapshot that has.</summary>
    public static async Task<DatabaseFacts> ReadAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var facts = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var rows = 0L;
        foreach (var table in (await connection.QueryAsync<TableRow>(
            new CommandDefinition(BackupSql.CountStatements, cancellationToken: cancel))).ToList())
        {
            var fact = await connection.QuerySingleAsync<FactRow>(
                new CommandDefinition(table.Statement, commandTimeout: 0, cancellationToken: cancel));
            facts[table.Name] = fact.Sums.Length == 0 ? $"{Count(fact.Rows)} rows"
                : $"{Count(fact.Rows)} rows, {fact.Sums}";
            rows += fact.Rows;
        }
        var objects = await connection.ExecuteScalarAsync<long>(
            new CommandDefinition(BackupSql.LargeObjectCount, cancellationToken: cancel));
        if (objects > 0) facts["large objects"] = $"{Count(objects)} rows";
        return new DatabaseFacts(facts, rows);
    }

    /// <summary>What a copy has differently, one sentence a table; empty when nothing.</summary>
    public IReadOnlyList<string> Differences(DatabaseFacts copy) =>
        [.. from name in Tables.Keys.Union(copy.Tables.Keys, StringComparer.Ordinal).Order(StringComparer.Ordinal)
            let here = Tables.GetValueOrDefault(name, "not there")
            let there = copy.Tables.GetValueOrDefault(name, "not there")
            where here != there
            select $"{name}: {here}; restored: {there}"];

    /// <summary>For people: the number of tables and rows, and the sums by table and column.</summary>
    public string Summary =>
        string.Join("; ", Tables.Where(t => t.Value.Contains('=', StringComparison.Ordinal)
        && !t.Value.StartsWith("0 rows", StringComparison.Ordinal))
        .Select(t => $"{t.Key.Split('.')[^1]} {t.Value.Split(", ", 2)[1]}")
            .Prepend($"{Tables.Count} tables, {Count(Rows)} rows"));

    static string Count(long rows) => rows.ToString(CultureInfo.InvariantCulture);
}
