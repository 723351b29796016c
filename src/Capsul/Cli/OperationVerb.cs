using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul operation</c>: running operations, and how an operator can end them.</summary>
static class OperationVerb
{
    static readonly Argument<long> Id = new("ID") { Description = "The operation's ID." };

    public static Command Make() => new("operation", """
        Lists, retries and ends running operations. Run on the Hub's machine.

        Examples:
          capsul operation list
          capsul operation cancel 17
          capsul operation force 17        when the host will not come back
        """)
    {
        CommandLine.Verb("list", "Lists running operations.", ListAsync),
        CommandLine.Verb("retry",
            "Runs the next step now instead of waiting for its retry delay.", (p, c) => AskAsync(p, null, c), Id),
        CommandLine.Verb("cancel",
            "Requests cancellation; completed steps are rolled back where "
            + "possible.", (p, c) => AskAsync(p, "cancel", c), Id),
        CommandLine.Verb("force",
            "Ends an operation in the database only, for a host that will not return. Its address stays reserved until "
            + "the host confirms that the VM is gone.",
            (p, c) => AskAsync(p, "force", c), Id),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("id", "kind", "VM", "account", "step", "status", "since", "deadline", "problem");
        foreach (var o in await database.Db.ListAsync<OperationRow>(OperationSql.ListOpen, null, cancel))
        {
            table.AddRow([.. new[]
            {
                o.Id.ToString(), o.Kind, o.Vm, o.Email, o.Step, o.Status,
                $"{o.Created:yyyy-MM-ddTHH:mm:ssZ}", $"{o.DeadlineAt:HH:mm:ssZ}", o.Problem,
            }
                .Select(Markup.Escape)]);
        }
        Tables.Write(table);
        return 0;
    }

    static async Task<int> AskAsync(ParseResult parsed, string? asked, CancellationToken cancel)
    {
        var id = parsed.GetValue(Id);
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        (await database.Db.DecideAsync<long>(async transaction =>
        {
            if (await transaction.ExecuteAsync(
                OperationSql.Ask, new { id, asked, now = TimeProvider.System.GetUtcNow().UtcDateTime }, cancel) == 0)
                return new Problem(ProblemKind.NotFound,
                    $"There is no running operation {id}{(asked == "cancel" ? " that can still be canceled" : "")}.");
            await transaction.AuditAsync("cli", $"operation_{asked ?? "retry"}", id.ToString(), "", cancel);
            return id;
        }, cancel)).OrThrow();
        Console.WriteLine($"Operation {id}: {asked ?? "retry"} requested.");
        return 0;
    }
}
