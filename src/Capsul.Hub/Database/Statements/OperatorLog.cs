using Npgsql;

namespace Capsul.Hub.Database.Statements;

/// <summary>
/// Table <c>operator_statements</c>: who changed what by hand. A line is written in the transaction of the change, right after it, so
/// that it is there exactly when the change is. A line that cannot be written does not undo the change; it is said on standard error.
/// </summary>
sealed class OperatorLog(NpgsqlConnection connection, string person, TextWriter notes)
{
    /// <summary>Most characters of a statement that are kept.</summary>
    public const int MaxStatement = 100_000;

    public async Task WriteAsync(string statement, long? rows, bool inTransaction, CancellationToken cancel)
    {
        try
        {
            await using var batch = new NpgsqlBatch(connection) { Timeout = 0 };
            if (inTransaction) batch.BatchCommands.Add(new NpgsqlBatchCommand("SAVEPOINT capsul_operator_log"));
            batch.BatchCommands.Add(new NpgsqlBatchCommand(StatementsSql.LogStatement)
            {
                Parameters = { new() { Value = person }, new() { Value = Shorten(Passwords.Hide(statement)) }, new() { Value = (object?)rows ?? DBNull.Value, NpgsqlDbType = NpgsqlTypes.NpgsqlDbType.Bigint } },
            });
            if (inTransaction) batch.BatchCommands.Add(new NpgsqlBatchCommand("RELEASE SAVEPOINT capsul_operator_log"));
            await batch.ExecuteNonQueryAsync(cancel);
        }
        catch (PostgresException error)
        {
            if (inTransaction)
            {
                await using var back = new NpgsqlBatch(connection) { BatchCommands = { new NpgsqlBatchCommand("ROLLBACK TO SAVEPOINT capsul_operator_log") } };
                await back.ExecuteNonQueryAsync(cancel);
            }
            await notes.WriteLineAsync($"capsul: this statement is not in the operator log: {error.MessageText}");
        }
    }

    static string Shorten(string statement) =>
        statement.Length <= MaxStatement ? statement : $"{statement[..MaxStatement].TrimEnd()} … ({statement.Length - MaxStatement} more characters)";
}
