using System.Globalization;
using System.Runtime.CompilerServices;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>One statement sent as it was typed, and its result printed.</summary>
public sealed partial class StatementRun
{
    /// <summary>
    /// A list of columns made from the information schema without ORDER BY stands in the order of the table only when
    /// the server walks through the columns by their number; the documented way to a header counts on that.
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
            // Closing reads the rows that are left; there should be few.
            await giveUp.CancelAsync();
            throw;
        }
        finally
        {
            await CloseAsync(reader);
        }
    }

    /// <summary>
    /// The first value of a row, as text: in the way in which all results are read, because each other way takes time
    /// to load.
    /// </summary>
    async Task<string?> AskAsync(string sql, CancellationToken cancel)
    {
        await using var batch = new NpgsqlBatch(connection) { Timeout = 0,
            BatchCommands = { new NpgsqlBatchCommand(sql) } };
        SetAllAsText(batch, true);
        await using var reader = await batch.ExecuteReaderAsync(System.Data.CommandBehavior.SequentialAccess, cancel);
        return await reader.ReadAsync(cancel) && !await reader.IsDBNullAsync(0, cancel)
            ? RowOutput.Text(reader, 0) : null;
    }

    /// <summary>SELECT without columns has rows too; each is an empty line.</summary>
    long CountEmptyRows(NpgsqlDataReader reader)
    {
        var rows = 0L;
        for (; reader.Read(); rows++) output.Raw("\n"u8);
        output.Flush();
        return rows;
    }

    /// <summary>
    /// Prints what is said behind the rows, or instead of them; gives the number for the log, null where it has no
    /// meaning.
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
            // It was cancelled, and the first error is on its way.
        }
    }

    /// <summary>
    /// All columns in text format. A batch is the only way to send a statement untouched (<see cref="NpgsqlCommand"/>
    /// looks for parameters in it), and there Npgsql has the switch but does not show it.
    /// </summary>
    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_AllResultTypesAreUnknown")]
    static extern void SetAllAsText(NpgsqlBatch batch, bool value);
}
