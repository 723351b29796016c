using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// The form for a new VM. A newcomer can also paste a key and add play money here. All of it is one transaction: when
/// the VM is refused, nothing is added, and the form keeps what was typed.
/// </summary>
[Authorize(Policies.SignedIn)]
public sealed class CreateVmPage(Db db, IDataProtectionProvider protection, Settings settings, TimeProvider time)
    : PageModel
{
    const string FirstAmount = "10";

    public IReadOnlyList<SizeRow> Sizes { get; private set; } = [];

    /// <summary>Prices that are announced.</summary>
    public IReadOnlyList<PriceRow> Coming { get; private set; } = [];

    public IReadOnlyList<ImageRow> Images { get; private set; } = [];

    public IReadOnlyList<SshKeyRow> Keys { get; private set; } = [];

    public BalanceRow Balance { get; private set; } = null!;

    [BindProperty(SupportsGet = true)]
    public string? Name { get; set; }

    [BindProperty(SupportsGet = true)]
    public string? Size { get; set; }

    [BindProperty(SupportsGet = true)]
    public string? Image { get; set; }

    [BindProperty]
    public List<long> KeyIds { get; set; } = [];

    /// <summary>A public key to add to the account, and to this VM.</summary>
    [BindProperty]
    public string? NewKey { get; set; }

    /// <summary>Play money to add.</summary>
    [BindProperty]
    public string? Dollars { get; set; }

    /// <summary>The encrypted ID that this form gives its VM, so that submitting it twice creates one VM.</summary>
    [BindProperty]
    public string? Draft { get; set; }

    public bool PlayMoney => settings.Development;

    public bool HasSupport => Site.HasSupport(settings);

    /// <summary>Whether the balance covers one day of the cheapest size.</summary>
    public bool CanAffordSomething =>
        Sizes.Count == 0 || Balance.Balance >= Prices.PerDay(Balance.DollarsPerMonth + Sizes[0].DollarsPerMonth);

    /// <summary>Whether anything could be created with this form.</summary>
    public bool CanCreate => Images.Count > 0 && Sizes.Count > 0 && (PlayMoney || CanAffordSomething);

    public SizeRow? Chosen => Sizes.FirstOrDefault(s => s.Id == Size);

    string Email => Actor.Of(HttpContext).Email;

    DateTime Now => time.GetUtcNow().UtcDateTime;

    IDataProtector Drafts => protection.CreateProtector("Capsul.Vms.Draft");

    public async Task OnGetAsync(CancellationToken cancel)
    {
        await LoadAsync(cancel);
        Size ??= Sizes.FirstOrDefault()?.Id;
        Image ??= Images.FirstOrDefault()?.Id;
        KeyIds = [.. Keys.Select(k => k.Id)];
        Dollars = PlayMoney && !CanAffordSomething ? FirstAmount : null;
        Draft = Drafts.Protect(CreateVm.NewId());
    }

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        if (CheckInline() is { } wrong)
        {
            await LoadAsync(cancel);
            return wrong;
        }
        if (!(await db.DecideAsync<string>(transaction => CreateAsync(transaction, cancel), cancel))
            .Refused(out var problem, out var id))
        {
            this.Done("Your capsul is being created. You won’t be charged until it answers SSH.");
            return RedirectToPage("ShowVm", new { id });
        }
        // What the form shows is only read to show it again.
        await LoadAsync(cancel);
        return problem.Field == nameof(KeyIds) && Keys.Count == 0
            ? this.Refuse(
                problem with { Message = "Paste a public SSH key; without one nobody could log in." }, nameof(NewKey))
            : this.Refuse(problem);
    }

    /// <summary>
    /// Validates the key and the amount before anything is started, and reports both problems together.
    /// </summary>
    PageResult? CheckInline()
    {
        PageResult? answer = null;
        if (HasKey
            && AddSshKey.Decide(new AddSshKey.Facts(0), new AddSshKey.Input(null, NewKey)).Problem is { } wrongKey)
        {
            answer = this.Refuse(wrongKey, nameof(NewKey));
            if (SshKey.LooksPrivate(NewKey)) this.Forget(nameof(NewKey), () => NewKey = null);
        }
        if (HasDollars && TopUp.Decide(new TopUp.Facts(settings.Development), Dollars).Problem is { } wrongAmount)
            answer = this.Refuse(wrongAmount, nameof(Dollars));
        return answer;
    }

    bool HasKey => !string.IsNullOrWhiteSpace(NewKey);

    bool HasDollars => !string.IsNullOrWhiteSpace(Dollars);

    async Task<Outcome<string>> CreateAsync(NpgsqlTransaction transaction, CancellationToken cancel)
    {
        var id = DraftedId();
        if (await HasAsync(transaction, id, cancel)) return id!;
        var keyIds = KeyIds.ToList();
        if (HasKey)
        {
            var added = await AddSshKey.InAsync(transaction, Email, new AddSshKey.Input(null, NewKey), Now, cancel);
            if (added.Refused(out var problem, out var key)) return problem with { Field = nameof(NewKey) };
            keyIds.Add(key.Id);
        }
        if (HasDollars)
        {
            if (TopUp.Decide(new TopUp.Facts(settings.Development), Dollars).Refused(out var problem, out var plan))
                return problem;
            await RecordPayment.InAsync(transaction, Email, plan.Dollars, "play", "", Email, Now, cancel);
        }
        var input = new CreateVm.Input(Name?.Trim(), Size, Image, keyIds) { Id = id };
        return await CreateVm.InAsync(transaction, Email, input, settings, time, cancel);
    }

    /// <summary>Whether this form has made its VM already. The account stays locked.</summary>
    async Task<bool> HasAsync(NpgsqlTransaction transaction, string? id, CancellationToken cancel)
    {
        await using var found = await transaction.ReadTogetherAsync(
            VmSql.LockAccountAndFind, new { email = Email, id }, cancel);
        await found.ReadSingleOrDefaultAsync<string>();
        return await found.ReadSingleOrDefaultAsync<VmRow>() is not null;
    }

    string? DraftedId()
    {
        try
        {
            return Draft is { Length: > 0 } ? Drafts.Unprotect(Draft) : null;
        }
        catch (CryptographicException)
        {
            return null; // Not ours, or encrypted with an older key: a new ID works as well.
        }
    }

    async Task LoadAsync(CancellationToken cancel)
    {
        Sizes = await db.ListAsync<SizeRow>(SizeSql.Offered, new { now = Now, email = Email }, cancel);
        Coming = await db.ListAsync<PriceRow>(PriceSql.Coming, new { now = Now, email = Email }, cancel);
        Images = await db.ListAsync<ImageRow>(ImageSql.Offered, null, cancel);
        Keys = await db.ListAsync<SshKeyRow>(SshKeySql.List, new { email = Email }, cancel);
        Balance = (await db.FindAsync<BalanceRow>(BillingSql.Balance, new { email = Email, now = Now }, cancel))!;
    }
}
