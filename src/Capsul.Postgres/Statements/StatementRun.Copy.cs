using System.Globalization;
using System.Text;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>COPY from standard input or from the lines of the script, and to standard output.</summary>
public sealed partial class StatementRun
{
    const int BlockSize = 1 << 16;

    async Task<long?> CopyOutAsync(ScriptStatement statement, CancellationToken cancel)
    {
        var from = statement.Shape.Binary ? null : await connection.BeginTextExportAsync(statement.Sql.Text, cancel);
        var stream = from is null ? await connection.BeginRawBinaryCopyAsync(statement.Sql.Text, cancel)
            : (NpgsqlRawCopyStream)((StreamReader)from).BaseStream;
        try
        {
            var block = new byte[BlockSize];
            int count;
            while ((count = await stream.ReadAsync(block, cancel)) > 0) output.Raw(block.AsSpan(0, count));
            output.Flush();
        }
        catch (Exception error) when (error is not NpgsqlException)
        {
            // Closing reads the rest, as with rows.
            await giveUp.CancelAsync();
            throw;
        }
        finally
        {
            await CloseAsync(stream);
        }
        return null;
    }

    async Task<long?> CopyInAsync(ScriptStatement statement, CancellationToken cancel)
    {
        await using var data = statement.Data is { } range
            ? new MemoryStream(Encoding.UTF8.GetBytes(statement.Part.Text[range])) : null;
        var before = await InsertedAsync(statement, cancel);
        var to = statement.Shape.Binary ? null : await connection.BeginTextImportAsync(statement.Sql.Text, cancel);
        await using var stream = to is null ? await connection.BeginRawBinaryCopyAsync(statement.Sql.Text, cancel)
            : (NpgsqlRawCopyStream)((StreamWriter)to).BaseStream;
        try
        {
            var block = new byte[BlockSize];
            int count;
            while ((count = await ((Stream?)data ?? input).ReadAsync(block, cancel)
                .AsTask().WaitAsync(giveUp.Token)) > 0)
            {
                await stream.WriteAsync(block.AsMemory(0, count), cancel);
            }
        }
        catch
        {
            await stream.CancelAsync();
            throw;
        }
        await stream.DisposeAsync();
        // Npgsql drops the row count in the server's response.
        var rows = await InsertedAsync(statement, cancel) - before;
        output.Tag(string.Create(CultureInfo.InvariantCulture, $"COPY {rows}"));
        return rows;
    }

    async Task<long> InsertedAsync(ScriptStatement statement, CancellationToken cancel)
    {
        await using var command = Command(StatementsSql.Inserted, statement.Shape.CopyTable);
        return await command.ExecuteScalarAsync(cancel) as long? ?? 0;
    }
}
