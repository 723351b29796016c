using Capsul.Hub.Engine;
using Capsul.Hub.Features.Operations;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>An operation on a VM, for its owner.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowVmOperationPage(Db db, IEnumerable<OperationKind> kinds, TimeProvider time) : PageModel
{
    [BindProperty(SupportsGet = true)]
    public string Id { get; set; } = "";

    [BindProperty(SupportsGet = true)]
    public long N { get; set; }

    public OperationView View { get; private set; } = null!;

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel)
    {
        if (await FindAsync(cancel) is not { } operation) return Problems.Page(AskOperation.NotFound);
        View = new OperationView(operation, kinds.FirstOrDefault(k => k.Name == operation.Kind),
            await db.ListAsync<OperationEventRow>(OperationSql.Events, new { id = N }, cancel), Email,
            time.GetUtcNow().UtcDateTime)
        {
            Move = operation.Kind == MoveVm.OperationName
                ? await db.FindAsync<MoveRow>(MoveSql.OfOperation, new { operation = N }, cancel) : null,
        };
        return Page();
    }

    public Task<IActionResult> OnPostRetryAsync(CancellationToken cancel) => AskAsync(OperationRequest.Retry, cancel);

    public Task<IActionResult> OnPostCancelAsync(CancellationToken cancel) => AskAsync(OperationRequest.Cancel, cancel);

    async Task<IActionResult> AskAsync(OperationRequest request, CancellationToken cancel)
    {
        if (await FindAsync(cancel) is null) return Problems.Page(AskOperation.NotFound);
        var outcome = await AskOperation.RunAsync(request, db, kinds, Email, Email, N, null, time, cancel);
        if (outcome.Problem is { } problem) return Problems.Page(problem);
        this.Done($"{request.Button} requested.");
        return RedirectToPage("ShowVmOperation", new { Id, n = N });
    }

    /// <summary>Null: it is another's, or not this VM's.</summary>
    async Task<OperationRow?> FindAsync(CancellationToken cancel) =>
        await db.FindAsync<OperationRow>(OperationSql.Find, new { id = N }, cancel) is { } found
            && found.Vm == Id && found.Email == Email ? found : null;
}
