using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Dunning;

/// <summary>The steps of dunning, the accounts that have taken one, and what an operator may do with both.</summary>
[Authorize(Policies.Operator)]
public sealed class ListDunningPage(Db db, TimeProvider time) : PageModel
{
    const int PageRows = 50;

    /// <summary>The last account of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public string? Past { get; set; }

    [BindProperty]
    public string? Step { get; set; }

    [BindProperty]
    public string? Runway { get; set; }

    [BindProperty]
    public string? After { get; set; }

    /// <summary>The step after which a new one comes.</summary>
    [BindProperty]
    public string? Behind { get; set; }

    [BindProperty]
    public string? Does { get; set; }

    [BindProperty]
    public string? Template { get; set; }

    [BindProperty]
    public string? Email { get; set; }

    [BindProperty]
    public string? Days { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    public DunningClockRow Clock { get; private set; } = null!;

    public IReadOnlyList<DunningStepRow> Steps { get; private set; } = [];

    public IReadOnlyList<DunnedAccountRow> Accounts { get; private set; } = [];

    public bool HasMore { get; private set; }

    /// <summary>Which form was refused, so that it alone shows what was typed.</summary>
    public string Form { get; private set; } = "";

    string Operator => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Clock = await db.AskAsync<DunningClockRow>(DunningSql.Clock, null, cancel);
        Steps = await db.ListAsync<DunningStepRow>(DunningSql.Steps, null, cancel);
        var found = await db.ListAsync<DunnedAccountRow>(DunningPageSql.List,
            new { after = Past ?? "", now = time.GetUtcNow().UtcDateTime, limit = PageRows + 1 }, cancel);
        (Accounts, HasMore) = ([.. found.Take(PageRows)], found.Count > PageRows);
    }

    public async Task<IActionResult> OnPostChangeAsync(CancellationToken cancel) => await AfterAsync("step",
        await ChangeStep.RunAsync(db, Operator, StepNumber, Runway, After, cancel),
        step => $"Step {step} is changed.", cancel, field => $"{field}-{StepNumber}");

    public async Task<IActionResult> OnPostAddAsync(CancellationToken cancel) => await AfterAsync("add",
        await AddStep.RunAsync(db, Operator, new AddStep.Input(Behind, Does, Template, Runway, After), cancel),
        step => $"Step {step} is new.", cancel, field => field switch
        {
            "Action" => "Does",
            "Runway" or "After" => $"Add-{field}",
            _ => field,
        });

    public async Task<IActionResult> OnPostRemoveAsync(CancellationToken cancel) => await AfterAsync("step",
        await ChangeStep.RemoveAsync(db, Operator, StepNumber, cancel), step => $"Step {step} is removed.", cancel);

    public async Task<IActionResult> OnPostHoldAsync(CancellationToken cancel) => await AfterAsync("hold",
        await HoldDunning.RunAsync(db, Operator, Email, Days, Reason, time, cancel),
        until => $"The account takes no step until {Show.Time(until)}.", cancel);

    public async Task<IActionResult> OnPostReleaseAsync(CancellationToken cancel) => await AfterAsync("release",
        await HoldDunning.ReleaseAsync(db, Operator, Email, cancel), email => $"{email} is no longer held.", cancel);

    public async Task<IActionResult> OnPostTellAsync(CancellationToken cancel) => await AfterAsync("tell",
        await TellDunning.RunAsync(db, Operator, Email, Reason, cancel),
        email => $"The time until the next step of {email} begins now.", cancel, field => $"Told-{field}");

    public async Task<IActionResult> OnPostPauseAsync(CancellationToken cancel) => await AfterAsync("pause",
        await PauseDunning.RunAsync(db, Operator, Reason, cancel),
        _ => "Paused: no account takes a step.", cancel, field => $"Pause-{field}");

    public async Task<IActionResult> OnPostResumeAsync(CancellationToken cancel) => await AfterAsync("pause",
        await PauseDunning.ResumeAsync(db, Operator, cancel), _ => "Accounts take steps again.", cancel);

    int StepNumber => int.TryParse(Step, out var number) ? number : 0;

    async Task<IActionResult> AfterAsync<T>(string form, Outcome<T> outcome, Func<T, string> done,
        CancellationToken cancel, Func<string, string>? field = null)
    {
        if (outcome.Refused(out var problem, out var value))
        {
            Form = form;
            await OnGetAsync(cancel);
            return this.Refuse(problem, problem.Field is { } name ? field?.Invoke(name) ?? name : null);
        }
        this.Done(done(value));
        return RedirectToPage("ListDunning");
    }
}
