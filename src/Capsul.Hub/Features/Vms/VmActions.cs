using Capsul.Foundation;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Something that an owner may do to an existing VM. Decision, operation, page, buttons, routes and tests are derived
/// from it.
/// </summary>
/// <param name="Name">The handler on the VM's page, and, with <c>_vm</c>, the operation and its audit line.</param>
/// <param name="From">The states in which it is allowed. Undo returns to the first.</param>
/// <param name="Via">The state while it is in progress.</param>
/// <param name="Wanted">What the Spoke is told: on, off or gone.</param>
/// <param name="End">The final state.</param>
/// <param name="Button">Label of its button.</param>
public sealed record VmAction(
    string Name, IReadOnlyList<string> From, string Via, string Wanted, string End, string Button)
{
    public static readonly Problem NotFound = new(ProblemKind.NotFound, "There is no such capsul.");

    /// <summary>Name of the operation kind; never changes.</summary>
    public string Operation => Name + "_vm";

    /// <summary>What people see while it is in progress, and when it is done.</summary>
    public required (string Present, string Done) Says { get; init; }

    /// <summary>A power cycle: the Spoke carries it out once per request.</summary>
    public bool Restarts { get; init; }

    /// <summary>Whether the guest gets time to shut down, which is added to the deadline.</summary>
    public bool ShutsDown { get; init; }

    /// <summary>Time limit for the rest; after that the operation is overdue.</summary>
    public required TimeSpan Limit { get; init; }

    /// <summary>Loses data: a page asks for confirmation.</summary>
    public bool Destroys { get; init; }

    /// <summary>The action that the page suggests: its button is highlighted.</summary>
    public bool Primary { get; init; }

    public TimeSpan Deadline(TimeSpan stopGrace) => ShutsDown ? stopGrace + Limit : Limit;

    /// <summary>The refusal, or null.</summary>
    public Problem? Decide(VmRow? vm) => vm switch
    {
        null or { Deleted: not null } => NotFound,
        _ when From.Contains(vm.State, StringComparer.Ordinal) => null,
        _ when vm.State == Via => new(ProblemKind.Conflict, $"This capsul is already {Via}."),
        { State: "creating" } => new(ProblemKind.Conflict, "This capsul is still being created. Cancel that first."),
        _ => new(ProblemKind.Conflict,
            $"This capsul is {vm.State}. Only a {string.Join(" or ", From)} capsul can {Name}."),
    };
}

/// <summary>The table of actions, in the order of their buttons.</summary>
public static class VmActions
{
    public static readonly VmAction Start = new("start", ["stopped"], "starting", "on", "running", "Start")
    {
        Says = ("Waiting for SSH", "Running"),
        Limit = TimeSpan.FromMinutes(5),
        Primary = true,
    };

    public static readonly VmAction Restart = new("restart", ["running"], "restarting", "on", "running", "Restart")
    {
        Says = ("Shutting down and starting again", "Running"),
        Limit = TimeSpan.FromMinutes(5),
        ShutsDown = true,
        Restarts = true,
    };

    public static readonly VmAction Stop = new("stop", ["running"], "stopping", "off", "stopped", "Stop")
    {
        Says = ("Shutting down", "Stopped"),
        Limit = TimeSpan.FromMinutes(2),
        ShutsDown = true,
    };

    /// <summary>After its limit it is shown to operators as overdue, and continues.</summary>
    public static readonly VmAction Delete =
        new("delete", ["running", "stopped"], "deleting", "gone", "deleted", "Delete")
        {
            Says = ("Removing machine, disk and address", "Deleted"),
            Limit = TimeSpan.FromMinutes(5),
            Destroys = true,
        };

    public static readonly IReadOnlyList<VmAction> All = [Start, Restart, Stop, Delete];

    /// <summary>Operations that count among the restarts of a VM: each gets a number of its own.</summary>
    public static readonly string[] Restarting = [.. All.Where(a => a.Restarts).Select(a => a.Operation)];

    /// <summary>What may be done to a VM in this state.</summary>
    public static IEnumerable<VmAction> In(string state) =>
        All.Where(a => a.From.Contains(state, StringComparer.Ordinal));

    /// <summary>The wanted state that belongs to a state without an operation.</summary>
    public static string WantedIn(string state) => state == "running" ? "on" : "off";
}
