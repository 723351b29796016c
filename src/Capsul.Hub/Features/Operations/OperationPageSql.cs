using Capsul.Hub.Engine;

namespace Capsul.Hub.Features.Operations;

/// <summary>Statements of the operators' pages.</summary>
public static class OperationPageSql
{
    /// <summary>
    /// Newest first, before the one named (0: from the first). Which: open, overdue or all. Search: a VM or an account.
    /// </summary>
    public const string List = $"""
        -- OperationPageSql.List
        SELECT {OperationSql.Columns} FROM operations o
        WHERE (@which = 'all' OR o.finished IS NULL) AND (@which <> 'overdue' OR o.deadline_at < @now)
            AND (@before = 0 OR o.id < @before) AND (@search = '' OR o.vm = @search OR o.email = @search)
        ORDER BY o.id DESC LIMIT @limit
        """;

    /// <summary>The last error of a step, for operators only.</summary>
    public const string Detail = """
        -- OperationPageSql.Detail
        SELECT detail FROM operations WHERE id = @id
        """;
}
