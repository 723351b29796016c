using Capsul.Foundation;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>Money from the bank, for operators: takes in a statement, and books what somebody has looked at.</summary>
[Authorize(Policies.Operator), RequestSizeLimit(BankFile.MaxBytes + 65_536)]
public sealed class OperateBankPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    const int PageRows = 100;

    public IReadOnlyList<BankLineRow> Lines { get; private set; } = [];

    public bool HasMore { get; private set; }

    [BindProperty]
    public IFormFile? Statement { get; set; }

    [BindProperty]
    public long Line { get; set; }

    [BindProperty]
    public string? Email { get; set; }

    string Operator => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        var rows = await db.ListAsync<BankLineRow>(BankLineSql.ListOpen, new { limit = PageRows + 1 }, cancel);
        (Lines, HasMore) = ([.. rows.Take(PageRows)], rows.Count > PageRows);
    }

    public async Task<IActionResult> OnPostImportAsync(CancellationToken cancel)
    {
        if (Statement is null) return await RefuseAsync(BankFile.Wrong("Choose a file."), cancel);
        using var all = new MemoryStream();
        await Statement.CopyToAsync(all, cancel);
        return await AfterAsync(await ImportStatement.RunAsync(db, settings, Operator, all.ToArray(), time, cancel),
            report => $"{Show.Count(report.New, "line is", "lines are")} new, {report.Known} were known."
                + (report.Foreign > 0 ? $" {report.Foreign} in another currency were left out." : ""), cancel);
    }

    public async Task<IActionResult> OnPostAssignAsync(CancellationToken cancel) => await AfterAsync(
        await BookBankLine.AssignAsync(db, Operator, Line, Email, time, cancel),
        id => $"Payment {id} recorded.", cancel);

    public async Task<IActionResult> OnPostAssignAllAsync(CancellationToken cancel) => await AfterAsync(
        await BookBankLine.AssignMatchedAsync(db, Operator, Line, time, cancel),
        count => $"{Show.Count(count, "payment", "payments")} recorded.", cancel);

    public async Task<IActionResult> OnPostKeepAsync(CancellationToken cancel) => await AfterAsync(
        await BookBankLine.KeepAsync(db, Operator, Line, time, cancel), _ => "It waits to be assigned.", cancel);

    public async Task<IActionResult> OnPostIgnoreAsync(CancellationToken cancel) => await AfterAsync(
        await BookBankLine.IgnoreAsync(db, Operator, Line, cancel), _ => "It is ignored.", cancel);

    async Task<IActionResult> AfterAsync<T>(Outcome<T> outcome, Func<T, string> done, CancellationToken cancel)
    {
        if (outcome.Refused(out var problem, out var value)) return await RefuseAsync(problem, cancel);
        this.Done(done(value));
        return RedirectToPage("OperateBank");
    }

    async Task<IActionResult> RefuseAsync(Problem problem, CancellationToken cancel)
    {
        if (problem.Field is null) return Problems.Page(problem);
        await OnGetAsync(cancel);
        return this.Refuse(problem, problem.Field == "Email" ? $"Email-{Line}" : null);
    }
}
