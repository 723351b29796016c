using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Repairs;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul fsck</c>: the database compared with itself and with what hosts report.</summary>
static class FsckVerb
{
    static readonly Option<string?> Host =
        new("--host") { Description = "Only what concerns this host.", HelpName = "NAME" };

    static readonly Option<string?> Apply = new("--apply")
    {
        Description = "Carries out the plan with this ID, as it was printed before, with the same --host.",
        HelpName = "PLAN",
    };

    public static Command Make() => CommandLine.Verb("fsck", """
        Compares the database with itself and with what hosts report, and prints a plan. It changes nothing, until the
        plan is carried out with --apply; that is refused if the findings have changed meanwhile. What cannot be taken
        back is first put into quarantine by one plan, and done by the next. Exit code 1 when something was found.

        Examples:
          capsul fsck
          capsul fsck --host rack1
          capsul fsck --apply 3fa9c1e07b12
        """, RunAsync, Host, Apply);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var (settings, host) = (Settings.Load(), parsed.GetValue(Host));
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        if (parsed.GetValue(Apply) is { } id)
        {
            var done = (await ApplyPlan.RunAsync(
                database.Db, "cli", host, id, settings, TimeProvider.System, cancel)).OrThrow();
            Console.WriteLine($"Plan {id}: {done.Count(RepairAction.Repair)} repaired, "
                + $"{done.Count(RepairAction.Quarantine)} put into quarantine, "
                + $"{done.Count(RepairAction.None)} left to you.");
            return 0;
        }
        var plan = await database.Db.InTransactionAsync(transaction => RepairPlan.MakeAsync(
            transaction, host, TimeProvider.System.GetUtcNow().UtcDateTime, cancel), cancel);
        Write(plan, host);
        return plan.Lines.Count == 0 ? 0 : 1;
    }

    static void Write(RepairPlan plan, string? host)
    {
        foreach (var (index, line) in plan.Lines.Index())
            Console.WriteLine($"{index + 1,4}  {Word(line.Action),-10}  {line.Says}");
        if (plan.Lines.Count == 0) Console.WriteLine("Nothing found.");
        else if (plan.Count(RepairAction.None) == plan.Lines.Count) Console.WriteLine("Each of these needs a person.");
        else
            Console.WriteLine($"Plan {plan.Id}. To carry it out: capsul fsck --apply {plan.Id}"
                + (host is null ? "" : $" --host {host}"));
    }

    static string Word(RepairAction action) => action switch
    {
        RepairAction.Repair => "repair",
        RepairAction.Quarantine => "quarantine",
        _ => "look",
    };
}
