using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>The accounts that have set up automatic top-up, for operators.</summary>
[Authorize(Policies.Operator)]
public sealed class OperateAutoTopUpsPage(Db db, TimeProvider time) : PageModel
{
    const int PageRows = 50;

    public IReadOnlyList<AutoTopUpRow> Rows { get; private set; } = [];

    public bool HasMore { get; private set; }

    /// <summary>Account of the last row on the previous page.</summary>
    [BindProperty(SupportsGet = true)]
    public string? After { get; set; }

    [BindProperty]
    public string? Email { get; set; }

    [BindProperty]
    public string? Reason { get; set; }

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var rows = await db.ListAsync<AutoTopUpRow>(AutoTopUpSql.List,
            new { after = After ?? "", now = time.GetUtcNow().UtcDateTime, limit = PageRows + 1 }, cancel);
        (Rows, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }

    public async Task<IActionResult> OnPostOffAsync(CancellationToken cancel)
    {
        var outcome = await TurnOffAutoTopUp.ByOperatorAsync(
            db, Actor.Of(HttpContext).Email, Email, Reason, time, cancel);
        if (!outcome.Refused(out var problem, out var email))
        {
            this.Done($"Automatic top-up of {email} is off.");
            return RedirectToPage("OperateAutoTopUps");
        }
        if (problem.Field is null) return Problems.Page(problem);
        await OnGetAsync(cancel);
        return this.Refuse(problem);
    }
}
