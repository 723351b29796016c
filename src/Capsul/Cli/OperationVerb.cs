using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Operations;
using Capsul.Hub.Features.Vms;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul operation</c>: running operations, and how an operator can end them.</summary>
static class OperationVerb
{
    static readonly Argument<long> Id = new("ID") { Description = "The operation's ID." };

    static readonly Option<string?> Why = new("--reason")
    {
        Description = "Why; kept in the audit line and shown among the operation's events.",
        HelpName = "TEXT",
    };

    public static Command Make() => new("operation", """
        Lists, retries and ends running operations. Run on the Hub's machine.

        Examples:
          capsul operation list
          capsul operation cancel 17
          capsul operation force 17 --reason "rack1 burned down"
        """)
    {
        CommandLine.Verb("list", "Lists running operations.", ListAsync),
        CommandLine.Verb("retry",
            "Runs the next step now instead of waiting for its retry delay.",
            (p, c) => AskAsync(p, OperationRequest.Retry, c), Id, Why),
        CommandLine.Verb("cancel",
            "Requests cancellation; completed steps are rolled back where possible.",
            (p, c) => AskAsync(p, OperationRequest.Cancel, c), Id, Why),
        CommandLine.Verb("force",
            "Ends an operation in the database only, for a host that will not return. Its address stays reserved until "
            + "the host confirms that the VM is gone. A reason is required.",
            (p, c) => AskAsync(p, OperationRequest.Force, c), Id, Why),
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

    static async Task<int> AskAsync(ParseResult parsed, OperationRequest request, CancellationToken cancel)
    {
        var id = parsed.GetValue(Id);
        await using var database = await CliDatabase.OpenAsync(Settings.Load(), cancel);
        (await AskOperation.RunAsync(request, database.Db, VmFeature.Operations, "cli", null, id,
            parsed.GetValue(Why), TimeProvider.System, cancel)).OrThrow();
        Console.WriteLine($"Operation {id}: {request.Name} requested.");
        return 0;
    }
}
