using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.Vms;

/// <summary>The form for a new VM. A refusal is shown beside the field it is about.</summary>
[Authorize(Policies.SignedIn)]
public sealed class CreateVmPage(Db db, Settings settings, TimeProvider time) : PageModel
{
    public IReadOnlyList<SizeRow> Sizes { get; private set; } = [];

    public IReadOnlyList<ImageRow> Images { get; private set; } = [];

    public IReadOnlyList<SshKeySql.Row> Keys { get; private set; } = [];

    public BalanceRow Balance { get; private set; } = null!;

    [BindProperty]
    public string? Name { get; set; }

    [BindProperty]
    public string? Size { get; set; }

    [BindProperty]
    public string? Image { get; set; }

    [BindProperty]
    public List<long> KeyIds { get; set; } = [];

    public Problem? Problem { get; private set; }

    public bool PlayMoney => settings.Development;

    /// <summary>Whether the balance covers a day of the cheapest size.</summary>
    public bool CanAffordSomething => Sizes.Count == 0 || Balance.Balance >= Prices.PerDay(Balance.DollarsPerMonth + Sizes[0].DollarsPerMonth);

    string Email => Actor.Of(HttpContext).Email;

    public async Task OnGetAsync(CancellationToken cancel)
    {
        await LoadAsync(cancel);
        Size = Sizes.FirstOrDefault()?.Id;
        Image = Images.FirstOrDefault()?.Id;
        KeyIds = [.. Keys.Select(k => k.Id)];
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        var input = new CreateVm.Input(Name?.Trim(), Size, Image, KeyIds);
        if (!(await CreateVm.RunAsync(db, Email, input, settings, time, cancel)).Refused(out var problem, out var id))
            return Redirect($"/vms/{id}");
        Problem = problem;
        Response.StatusCode = problem.HttpStatus;
        await LoadAsync(cancel);
        return Page();
    }

    /// <summary>The sentence for a field, or null.</summary>
    public string? About(string field) => Problem?.Field == field ? Problem.Message : null;

    async Task LoadAsync(CancellationToken cancel)
    {
        Sizes = await db.ListAsync<SizeRow>(SizeSql.Offered, null, cancel);
        Images = await db.ListAsync<ImageRow>(ImageSql.Offered, null, cancel);
        Keys = await db.ListAsync<SshKeySql.Row>(SshKeySql.List, new { email = Email }, cancel);
        Balance = (await db.FindAsync<BalanceRow>(BillingSql.Balance, new { email = Email, now = time.GetUtcNow().UtcDateTime }, cancel))!;
    }
}
