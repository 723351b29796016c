namespace Capsul.Postgres.Statements;

/// <summary>Decides which statements go into the operator log.</summary>
public sealed partial class StatementRun
{
    /// <summary>
    /// Writes a line for each statement that wrote. A SELECT that writes inside a function is detected because its
    /// transaction has then written.
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

    /// <summary>Called before a statement for which only the number of written rows shows whether it wrote.</summary>
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
        // If the transaction had already written, its ID does not tell; then rows are counted, unless the text decides.
        if (written) return statement.Shape.MayChange || await RowsWrittenAsync(cancel) != rowsWritten;
        await using var command = Command(StatementsSql.HasWritten);
        return await command.ExecuteScalarAsync(cancel) is true;
    }
}
