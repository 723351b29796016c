using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vouchers;

/// <summary>All vouchers, for operators; makes some, and shows their codes once.</summary>
[Authorize(Policies.Operator)]
public sealed class OperateVouchersPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    const int PageRows = 100;

    [BindProperty]
    public string? Amount { get; set; }

    [BindProperty]
    public string? Count { get; set; }

    [BindProperty]
    public string? Expires { get; set; }

    [BindProperty]
    public string? ForEmail { get; set; }

    [BindProperty]
    public string? Note { get; set; }

    [BindProperty]
    public long Id { get; set; }

    /// <summary>ID of the last voucher of the page before.</summary>
    [BindProperty(SupportsGet = true)]
    public long After { get; set; }

    /// <summary>That were made by this request: only its answer has them.</summary>
    public IReadOnlyList<string> Codes { get; private set; } = [];

    public IReadOnlyList<VoucherRow> Vouchers { get; private set; } = [];

    public bool HasMore { get; private set; }

    public DateTime Now { get; } = time.GetUtcNow().UtcDateTime;

    string Me => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var rows = await db.ListAsync<VoucherRow>(
            VoucherSql.List, new { after = After, limit = PageRows + 1 }, cancel);
        (Vouchers, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }

    /// <summary>No redirect: the codes are nowhere but in this answer.</summary>
    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var input = new CreateVouchers.Input(Amount, Count, Expires, ForEmail, Note);
        var outcome = await CreateVouchers.RunAsync(db, settings, Me, input, time, cancel);
        await OnGetAsync(cancel);
        if (outcome.Refused(out var problem, out var codes)) return this.Refuse(problem);
        Codes = codes;
        return Page();
    }

    public async Task<IActionResult> OnPostWithdrawAsync(CancellationToken cancel)
    {
        var outcome = await WithdrawVoucher.RunAsync(db, Me, Id, time, cancel);
        if (outcome.Refused(out var problem, out var amount))
        {
            await OnGetAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done($"Voucher {Id} of {Show.Dollars(amount)} is withdrawn.");
        return RedirectToPage("OperateVouchers");
    }
}
