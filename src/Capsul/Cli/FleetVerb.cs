using System.CommandLine;
using Capsul.Fleet;
using Capsul.Foundation;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul fleet</c>: see <see cref="FleetRun"/>.</summary>
static class FleetVerb
{
    static readonly Option<int> Spokes = new("--spokes")
    { Description = "Number of Spokes.", DefaultValueFactory = _ => 20, HelpName = "N" };
    static readonly Option<int> Vms = new("--vms")
    { Description = "Number of VMs of each Spoke.", DefaultValueFactory = _ => 10, HelpName = "N" };
    static readonly Option<double> Faults = new("--faults")
    {
        Description = "Share of the hypervisor's calls that misbehave, from 0 to 1. Spokes are restarted, too: at 0.01 "
            + "each about once an hour.",
        HelpName = "RATE"
    };
    static readonly Option<int> Seed = new("--seed")
    { Description = "What the faults are drawn from.", DefaultValueFactory = _ => 1, HelpName = "N" };
    static readonly Option<bool> Hub = new("--hub")
    { Description = "Use the Hub that runs with this environment's settings, and is empty, instead of an own one." };
    static readonly Option<int?> Page = new("--page")
    {
        Description = "Port on 127.0.0.1 of a page with the figures, and of /figures, the same as JSON.",
        HelpName = "N"
    };
    static readonly Option<bool> UntilSettled = new("--until-settled")
    { Description = "Exit as soon as every VM was reported; the exit code says whether they were." };
    static readonly Option<double?> For = new("--for")
    { Description = "Exit after so many seconds.", HelpName = "SECONDS" };
    static readonly Option<double> Every = new("--every")
    { Description = "Seconds between two lines.", DefaultValueFactory = _ => 5, HelpName = "SECONDS" };

    public static Command Make() => CommandLine.Verb("fleet", """
        Runs many Spokes over the simulated hypervisor in one process, against a Hub in another, over the real link.
        Every Spoke joins with a token; all VMs run from the start, in the Hub's database and in the Spokes' folders.
        Prints every few seconds what it costs, until Ctrl-C; then removes everything. The Hub uses CAPSUL_DATABASE, or
        a private PostgreSQL.

        Examples:
          capsul fleet
          capsul fleet --spokes 1000 --vms 50 --page 8090
          capsul fleet --faults 0.01 --for 3600
        """, RunAsync, Spokes, Vms, Faults, Seed, Hub, Page, UntilSettled, For, Every);

    static Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var options = new FleetOptions(
            new FleetPlan(parsed.GetValue(Spokes), parsed.GetValue(Vms)), parsed.GetValue(Faults),
            parsed.GetValue(Seed), OwnHub: !parsed.GetValue(Hub), parsed.GetValue(Page),
            parsed.GetValue(UntilSettled), parsed.GetValue(For) is { } limit ? TimeSpan.FromSeconds(limit) : null,
            TimeSpan.FromSeconds(parsed.GetValue(Every)));
        if (Decide(options) is { } problem) throw new ProblemException(problem);
        return new FleetRun(options, TimeProvider.System).RunAsync(cancel);
    }

    static Problem? Decide(FleetOptions options) => options switch
    {
        { Plan.Spokes: < 1 or > FleetPlan.MaxSpokes } =>
            new(ProblemKind.Invalid, $"--spokes must be from 1 to {FleetPlan.MaxSpokes}."),
        { Plan.VmsPerSpoke: < 1 or > FleetPlan.MaxVmsPerSpoke } =>
            new(ProblemKind.Invalid, $"--vms must be from 1 to {FleetPlan.MaxVmsPerSpoke}."),
        { Faults: < 0 or > 1 } => new(ProblemKind.Invalid, "--faults must be from 0 to 1."),
        { Port: < 1 or > ushort.MaxValue } => new(ProblemKind.Invalid, "--page must be a port."),
        { Every.TotalSeconds: <= 0 } or { Limit.TotalSeconds: <= 0 } =>
            new(ProblemKind.Invalid, "--for and --every must be more than 0."),
        _ => null,
    };
}
