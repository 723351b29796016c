using Npgsql;
using NpgsqlTypes;

namespace Capsul.Postgres.Statements;

/// <summary>
/// Table <c>operator_statements</c>: what operators changed manually. A line is written in the transaction of the
/// change, right after it, so that it exists if and only if the change does. A line that cannot be written does not
/// undo the change; it is reported on standard error.
/// </summary>
sealed class OperatorLog(NpgsqlConnection connection, string person, TextWriter notes)
{
    /// <summary>
    /// The table's OID when the call began; null: it does not exist, as in an empty database, and nothing is written or
    /// reported.
    /// </summary>
    long? table;

    /// <summary>A failure to write is reported once.</summary>
    bool complained;

    /// <summary>For EXECUTE and FETCH in later statements.</summary>
    readonly NamedStatements names = new();

    /// <summary>Called after a statement has run; it may have named another.</summary>
    public void Hear(string statement) => names.Hear(statement);

    /// <summary>Sets the table for the lines.</summary>
    public void Begin(long? number) => table = number;

    public async Task WriteAsync(string statement, long? rows, bool inTransaction, CancellationToken cancel)
    {
        if (table is null) return;
        try
        {
            await using var batch = new NpgsqlBatch(connection) { Timeout = 0 };
            if (inTransaction) batch.BatchCommands.Add(new NpgsqlBatchCommand("SAVEPOINT capsul_operator_log"));
            var line = new NpgsqlBatchCommand(StatementsSql.LogStatement)
            {
                Parameters =
                {
                    new() { Value = person }, new() { Value = KeptText.Of(names.WithWhatItNames(statement)) },
                    new() { Value = (object?)rows ?? DBNull.Value, NpgsqlDbType = NpgsqlDbType.Bigint },
                        new() { Value = table },
                },
            };
            batch.BatchCommands.Add(line);
            if (inTransaction) batch.BatchCommands.Add(new NpgsqlBatchCommand("RELEASE SAVEPOINT capsul_operator_log"));
            await batch.ExecuteNonQueryAsync(cancel);
            if (line.Rows == 0) await ComplainAsync("another table has its name");
        }
        catch (PostgresException error)
        {
            if (inTransaction)
            {
                await using var back = new NpgsqlBatch(connection)
                {
                    BatchCommands =
                    { new NpgsqlBatchCommand("ROLLBACK TO SAVEPOINT capsul_operator_log") }
                };
                await back.ExecuteNonQueryAsync(cancel);
            }
            await ComplainAsync(error.MessageText);
        }
    }

    async Task ComplainAsync(string why)
    {
        if (!complained) await notes.WriteLineAsync($"capsul: the operator log is incomplete from here on: {why}");
        complained = true;
    }
}
