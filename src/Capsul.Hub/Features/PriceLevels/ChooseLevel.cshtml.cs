using System.Globalization;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Mvc.RazorPages;

namespace Capsul.Hub.Features.PriceLevels;

/// <summary>A person chooses what they pay. Without levels there is no such page.</summary>
[Authorize(Policies.SignedIn)]
public sealed class ChooseLevelPage(Db db, TimeProvider time) : PageModel
{
    /// <param name="Value">The number of the level; 0: the standard price.</param>
    /// <param name="Example">What the cheapest size costs a month.</param>
    public sealed record Option(long Value, string Name, int Percent, decimal? Example, bool IsChosen);

    [BindProperty]
    public string? Level { get; set; }

    public ChosenLevelRow Chosen { get; private set; } = null!;

    public IReadOnlyList<Option> Options { get; private set; } = [];

    /// <summary>The size of the examples.</summary>
    public string? Size { get; private set; }

    string Email => Actor.Of(HttpContext).Email;

    public async Task<IActionResult> OnGetAsync(CancellationToken cancel) =>
        await LoadAsync(cancel) ? Page() : NotFound();

    public async Task<IActionResult> OnPostAsync(CancellationToken cancel)
    {
        long? level = long.TryParse(Level, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number == 0 ? null : number : -1;
        var outcome = await ChooseLevel.RunAsync(db, Email, Email, level, "", time, cancel);
        if (outcome.Refused(out var problem, out var percent))
            return await LoadAsync(cancel) ? this.Refuse(problem) : NotFound();
        this.Done($"From now on you pay {percent}% of the standard price.");
        return RedirectToPage("/Payments/ShowBalance");
    }

    async Task<bool> LoadAsync(CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        Chosen = await db.AskAsync<ChosenLevelRow>(PriceLevelSql.Chosen, new { email = Email, since = now }, cancel);
        var levels = await db.ListAsync<PriceLevelRow>(PriceLevelSql.Offered, null, cancel);
        var sizes = await db.ListAsync<SizeRow>(SizeSql.Offered, new { now, email = "" }, cancel);
        Size = sizes.FirstOrDefault()?.Id;
        var standard = sizes.FirstOrDefault()?.DollarsPerMonth;
        Option Offer(long value, string name, int percent) => new(value, name, percent,
            standard is { } dollars ? PriceLevelRow.At(dollars, percent) : null, value == (Chosen.Level ?? 0));
        Options = [.. levels.Select(l => Offer(l.Id, l.Name, l.Percent)).Append(Offer(0, ChooseLevel.Standard, 100))
            .OrderBy(o => o.Percent).ThenBy(o => o.Value)];
        return levels.Count > 0 || Chosen.Level is not null;
    }
}
