using Capsul.Hub.Engine;

namespace Capsul.Hub.Features.Operations;

/// <summary>Statements of the operators' pages.</summary>
public static class OperationPageSql
{
    /// <summary>
    /// Newest first, before the one named. Running ones, or those past their deadline; of a VM or an account, or all.
    /// </summary>
    public const string ListOpen = $"""
        -- OperationPageSql.ListOpen
        SELECT {OperationSql.Columns} FROM operations o
        WHERE o.finished IS NULL AND (@which <> 'overdue' OR o.deadline_at < @now) AND o.id < @before
            AND (@search = '' OR o.vm = @search OR o.email = @search)
        ORDER BY o.id DESC LIMIT @limit
        """;

    /// <summary>Ended ones too.</summary>
    public const string ListAll = $"""
        -- OperationPageSql.ListAll
        SELECT {OperationSql.Columns} FROM operations o WHERE o.id < @before ORDER BY o.id DESC LIMIT @limit
        """;

    /// <summary>The same of a VM, or of all VMs of an account.</summary>
    public const string ListOf = $"""
        -- OperationPageSql.ListOf
        SELECT {OperationSql.Columns} FROM operations o
        WHERE o.vm IN (SELECT v.id FROM vms v WHERE v.id = @search OR v.email = @search) AND o.id < @before
        ORDER BY o.id DESC LIMIT @limit
        """;

    /// <summary>The last error of a step, for operators only.</summary>
    public const string Detail = """
        -- OperationPageSql.Detail
        SELECT detail FROM operations WHERE id = @id
        """;
}
