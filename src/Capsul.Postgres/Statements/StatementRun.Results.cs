using System.Globalization;
using System.Runtime.CompilerServices;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>Sends one statement as it was typed, and prints its result.</summary>
public sealed partial class StatementRun
{
    /// <summary>
    /// A list of columns selected from the information schema without ORDER BY is in the table's order only if the
    /// server scans the columns by their number; the documented way to print a header relies on that.
    /// </summary>
    async Task<long?> ExecuteInOrderAsync(ScriptStatement statement, CancellationToken cancel)
    {
        await ExecuteQuietlyAsync(StatementsSql.JoinInOrder, cancel);
        var rows = await ExecuteAsync(statement, cancel);
        await ExecuteQuietlyAsync(StatementsSql.JoinAsUsual, cancel);
        return rows;
    }

    async Task<long?> ExecuteAsync(ScriptStatement statement, CancellationToken cancel)
    {
        await using var batch = new NpgsqlBatch(connection) { Timeout = 0 };
        var command = new NpgsqlBatchCommand(statement.Sql.Text);
        batch.BatchCommands.Add(command);
        SetAllAsText(batch, true);
        var reader = await batch.ExecuteReaderAsync(System.Data.CommandBehavior.SequentialAccess, cancel);
        try
        {
            var fields = reader.FieldCount > 0;
            var rows = fields ? output.WriteRows(reader) : CountEmptyRows(reader);
            await reader.CloseAsync();
            return Report(statement, command, fields, rows);
        }
        catch (Exception error) when (error is not NpgsqlException)
        {
            // Closing reads the remaining rows; there should be few.
            await giveUp.CancelAsync();
            throw;
        }
        finally
        {
            await CloseAsync(reader);
        }
    }

    /// <summary>
    /// The first value of a row, as text: read like all results, because any other way takes time to load.
    /// </summary>
    async Task<string?> AskAsync(string sql, CancellationToken cancel)
    {
        await using var batch = new NpgsqlBatch(connection)
        {
            Timeout = 0,
            BatchCommands = { new NpgsqlBatchCommand(sql) }
        };
        SetAllAsText(batch, true);
        await using var reader = await batch.ExecuteReaderAsync(System.Data.CommandBehavior.SequentialAccess, cancel);
        return await reader.ReadAsync(cancel) && !await reader.IsDBNullAsync(0, cancel)
            ? RowOutput.Text(reader, 0) : null;
    }

    /// <summary>A SELECT without columns also has rows; each is an empty line.</summary>
    long CountEmptyRows(NpgsqlDataReader reader)
    {
        var rows = 0L;
        for (; reader.Read(); rows++) output.Raw("\n"u8);
        output.Flush();
        return rows;
    }

    /// <summary>
    /// Prints what follows the rows, or replaces them; returns the row count for the log, null where it has no meaning.
    /// </summary>
    long? Report(ScriptStatement statement, NpgsqlBatchCommand command, bool fields, long rows)
    {
        var count = (long)command.Rows;
        switch (command.StatementType)
        {
            case StatementType.Insert or StatementType.Update or StatementType.Delete or StatementType.Merge:
                output.Tag(string.Create(CultureInfo.InvariantCulture, $"{count} rows affected."));
                return count;
            case StatementType.Select or StatementType.CreateTableAs or StatementType.Fetch when fields || rows > 0:
                return null;
            case StatementType.Select or StatementType.CreateTableAs:
                output.Tag(string.Create(CultureInfo.InvariantCulture, $"{CommandTag.Select} {count}"));
                return count;
            case StatementType.Move or StatementType.Copy:
                output.Tag(string.Create(CultureInfo.InvariantCulture, $"{statement.Shape.Tag} {count}"));
                return count;
        }
        if (!fields) output.Tag(statement.Shape.Tag);
        return null;
    }

    static async Task CloseAsync(IAsyncDisposable reader)
    {
        try
        {
            await reader.DisposeAsync();
        }
        catch (NpgsqlException)
        {
            // It was canceled, and the first error is being thrown.
        }
    }

    /// <summary>
    /// Requests all columns in text format. A batch is the only way to send a statement unmodified (<see
    /// cref="NpgsqlCommand"/> searches it for parameters), and its switch for this is internal to Npgsql.
    /// </summary>
    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_AllResultTypesAreUnknown")]
    static extern void SetAllAsText(NpgsqlBatch batch, bool value);
}
