using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments;

/// <summary>Payments through providers, for operators: first those that something is wrong with.</summary>
[Authorize(Policies.Operator)]
public sealed class OperatePaymentsPage(Db db) : PageModel
{
    const int PageRows = 50, ProblemRows = 20;

    public IReadOnlyList<ProviderPaymentRow> Problematic { get; private set; } = [];

    public IReadOnlyList<ProviderPaymentRow> Payments { get; private set; } = [];

    public IReadOnlyList<ProviderTotalRow> Totals { get; private set; } = [];

    public bool HasOlder { get; private set; }

    /// <summary>ID of the last payment on the previous page.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    public async Task OnGetAsync(CancellationToken cancel)
    {
        Problematic = await db.ListAsync<ProviderPaymentRow>(
            ProviderPaymentSql.ListProblems, new { after = 0L, limit = ProblemRows }, cancel);
        Totals = await db.ListAsync<ProviderTotalRow>(ProviderTotalSql.List, null, cancel);
        var rows = await db.ListAsync<ProviderPaymentRow>(
            ProviderPaymentSql.ListAll, new { after = After, limit = PageRows + 1 }, cancel);
        (Payments, HasOlder) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }
}
