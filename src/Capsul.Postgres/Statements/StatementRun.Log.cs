namespace Capsul.Postgres.Statements;

/// <summary>Which statements the operator log keeps.</summary>
public sealed partial class StatementRun
{
    /// <summary>
    /// A line for each statement that wrote. What a SELECT does inside a function is known from the transaction having
    /// become a writing one.
    /// </summary>
    async Task LogAsync(ScriptStatement statement, long? rows, CancellationToken cancel)
    {
        if (options.ReadOnly) return;
        log.Hear(statement.Sql.Text);
        if (statement.Shape.Kind == StatementKind.Outside)
        {
            await log.WriteAsync(statement.Sql.Text, rows, inTransaction: false, cancel);
            return;
        }
        if (!open || statement.Shape.IsSetting) return;
        var counts = rows is not null && statement.Shape.Tag is not ("MOVE" or "FETCH");
        if (!counts && !await WroteAsync(statement, cancel)) return;
        await log.WriteAsync(statement.Sql.Text, rows, inTransaction: true, cancel);
        written = true;
    }

    /// <summary>Before a statement of which only the number of written rows will say whether it wrote.</summary>
    async Task CountWrittenAsync(ScriptStatement statement, CancellationToken cancel)
    {
        if (open && written && !options.ReadOnly && !statement.Shape.MayChange && !statement.Shape.IsSetting
            && statement.Shape.Kind is StatementKind.Plain or StatementKind.CopyOut) rowsWritten =
                await RowsWrittenAsync(cancel);
    }

    async Task<long> RowsWrittenAsync(CancellationToken cancel)
    {
        await using var command = Command(StatementsSql.RowsWritten);
        return (long)(await command.ExecuteScalarAsync(cancel))!;
    }

    async Task<bool> WroteAsync(ScriptStatement statement, CancellationToken cancel)
    {
        // Of a transaction that had written before it is not known by its number; then rows are counted, where the text
        // promises nothing.
        if (written) return statement.Shape.MayChange || await RowsWrittenAsync(cancel) != rowsWritten;
        await using var command = Command(StatementsSql.HasWritten);
        return await command.ExecuteScalarAsync(cancel) is true;
    }
}
