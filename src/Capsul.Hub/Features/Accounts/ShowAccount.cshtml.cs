using Capsul.Foundation;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Accounts;

/// <summary>What is kept of the person who is signed in, and where else they are signed in.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ShowAccountPage(Db db, TimeProvider time, Sessions sessions) : PageModel
{
    /// <summary>Exports that are written at a time: each holds a connection to the database.</summary>
    const int MostExports = 2;

    static readonly SemaphoreSlim Exports = new(MostExports);

    public AccountRow Account { get; private set; } = null!;

    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Address { get; set; }

    [BindProperty]
    public string? TaxNumber { get; set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        await LoadAsync(cancel);
        var address = await db.FindAsync<BillingAddressRow>(
            ReceiptSql.FindAddress, new { email = Email }, cancel) ?? BillingAddressRow.None;
        (Name, Address, TaxNumber) = (address.Name, address.Address, address.TaxNumber);
    }

    async Task LoadAsync(CancellationToken cancel) => Account = await db.AskAsync<AccountRow>(
        AccountSql.Find, new { email = Email, now = time.GetUtcNow().UtcDateTime }, cancel);

    /// <summary>To whom receipts are addressed from now on.</summary>
    public async Task<IActionResult> OnPostBillingAsync(CancellationToken cancel)
    {
        var outcome = await SetBillingAddress.RunAsync(db, Email, Name, Address, TaxNumber, cancel);
        if (outcome.Refused(out var problem, out _))
        {
            await LoadAsync(cancel);
            return this.Refuse(problem);
        }
        this.Done("Receipts that you make from now on are addressed to that.");
        return RedirectToPage("ShowAccount");
    }

    /// <summary>
    /// Written to a file first: somebody who reads slowly does not keep a transaction open.
    /// </summary>
    public async Task<IActionResult> OnPostExportAsync(CancellationToken cancel)
    {
        if (!await Exports.WaitAsync(TimeSpan.Zero, cancel))
            return Problems.Page(new Problem(ProblemKind.Unavailable,
                "Others are downloading their data at the moment. Try again in a minute."));
        var path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        var file = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.None,
            BufferSize = 1 << 16,
            Options = FileOptions.DeleteOnClose | FileOptions.Asynchronous,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        try
        {
            await ExportAccount.RunAsync(db, Email, file, cancel);
            file.Position = 0;
            return File(file, "application/json", $"capsul-account-{time.GetUtcNow():yyyy-MM-dd}.json");
        }
        catch
        {
            await file.DisposeAsync();
            throw;
        }
        finally
        {
            Exports.Release();
        }
    }

    /// <summary>Ends all sessions of the account, this one too.</summary>
    public async Task<IActionResult> OnPostSignOutAsync(CancellationToken cancel)
    {
        await db.ExecuteAsync(AccountSql.DeleteSessionsOf, new { email = Email }, cancel);
        await sessions.EndAsync(HttpContext, cancel);
        this.Done("You are signed out everywhere.");
        return RedirectToPage("/Accounts/SignIn");
    }
}
