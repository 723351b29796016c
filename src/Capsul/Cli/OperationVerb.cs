using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul operation</c>: work in progress, and the operator's way out of it.</summary>
static class OperationVerb
{
    static readonly Argument<long> Id = new("ID") { Description = "The operation's number." };

    public static Command Make() => new("operation", """
        Work in progress, and the ways out of it. Run on the Hub's machine.

        Examples:
          capsul operation list
          capsul operation cancel 17
          capsul operation force 17        when the host will not come back
        """)
    {
        CommandLine.Verb("list", "Lists operations that have not ended.", ListAsync),
        CommandLine.Verb("retry", "Runs the next step now instead of after its pause.", (p, c) => AskAsync(p, null, c), Id),
        CommandLine.Verb("cancel", "Asks it to stop and to undo what it did, where it can.", (p, c) => AskAsync(p, "cancel", c), Id),
        CommandLine.Verb("force", "Ends it in the database alone: for a host that will not come back. Its address stays taken until the host says otherwise.",
            (p, c) => AskAsync(p, "force", c), Id),
    };

    static async Task<int> ListAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        var table = new Table().Border(TableBorder.Simple).AddColumns("id", "kind", "VM", "account", "step", "status", "since", "deadline", "problem");
        foreach (var o in await database.Db.ListAsync<OperationRow>(OperationSql.ListOpen, null, cancel))
        {
            table.AddRow([.. new[] { o.Id.ToString(), o.Kind, o.Vm, o.Email, o.Step, o.Status, $"{o.Created:yyyy-MM-ddTHH:mm:ssZ}", $"{o.DeadlineAt:HH:mm:ssZ}", o.Problem }
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
            if (await transaction.ExecuteAsync(OperationSql.Ask, new { id, asked, now = TimeProvider.System.GetUtcNow().UtcDateTime }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, $"There is no operation {id} in progress{(asked == "cancel" ? " that can still be cancelled" : "")}.");
            await transaction.AuditAsync("cli", $"operation_{asked ?? "retry"}", id.ToString(), "", cancel);
            return id;
        }, cancel)).OrThrow();
        Console.WriteLine($"Operation {id}: {asked ?? "retry"} was asked for.");
        return 0;
    }
}
