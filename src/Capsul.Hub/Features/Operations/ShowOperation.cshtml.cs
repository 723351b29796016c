using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Operations;

/// <summary>An operation, for operators.</summary>
[Authorize(Policies.Operator)]
public sealed class ShowOperationPage(Db db, IEnumerable<OperationKind> kinds, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public long N { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    public OperationView View { get; private set; } = null!;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await db.FindAsync<OperationRow>(OperationSql.Find, new { id = N }, cancel) is not { } operation)
            return Problems.Page(AskOperation.NotFound);
        View = new OperationView(operation, kinds.FirstOrDefault(k => k.Name == operation.Kind),
            await db.ListAsync<OperationEventRow>(OperationSql.Events, new { id = N }, cancel), null,
            time.GetUtcNow().UtcDateTime)
        {
            Move = operation.Kind == MoveVm.OperationName
                ? await db.FindAsync<MoveRow>(MoveSql.OfOperation, new { operation = N }, cancel) : null,
            Detail = await db.FindAsync<string>(OperationPageSql.Detail, new { id = N }, cancel) ?? "",
        };
        return Page();
    }

    public Task<IActionResult> OnPostRetryAsync(CancellationToken cancel) => AskAsync(OperationRequest.Retry, cancel);

    public Task<IActionResult> OnPostCancelAsync(CancellationToken cancel) => AskAsync(OperationRequest.Cancel, cancel);

    public Task<IActionResult> OnPostForceAsync(CancellationToken cancel) => AskAsync(OperationRequest.Force, cancel);

    async Task<IActionResult> AskAsync(OperationRequest request, CancellationToken cancel)
    {
        var outcome = await AskOperation.RunAsync(
            request, db, kinds, Actor.Of(HttpContext).Email, null, N, Reason, time, cancel);
        if (outcome.Problem is { } problem)
            return problem.Field is not null && await OnGetAsync(cancel) is PageResult
                ? this.Refuse(problem) : Problems.Page(problem);
        this.Done($"{request.Button} requested.");
        return RedirectToPage("ShowOperation", new { n = N });
    }
}
