using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Receipts;

/// <summary>
/// Who sells from a date on: what receipts for payments from then on say. A line is added and never changed, so
/// receipts that were made stay what they are.
/// </summary>
public static class SetSeller
{
    /// <param name="Address">Several lines.</param>
    /// <param name="TaxPercent">As typed; empty: no tax.</param>
    /// <param name="From">As typed: a day in UTC; empty: now, or, for the first, all payments until then, too.</param>
    public sealed record Input(
        string? Name, string? Address, string? TaxNumber, string? TaxLabel, string? TaxPercent, string? From);

    public static Outcome<SellerRow> Decide(Input input, DateTime? latest, DateTime now)
    {
        var (name, address) = (BillingText.Line(input.Name), BillingText.Lines(input.Address));
        var (number, label) = (BillingText.Line(input.TaxNumber), BillingText.Line(input.TaxLabel));
        if (name.Length is 0 or > 200) return Wrong("Name", "Enter the seller's name: at most 200 characters.");
        if (address.Length is 0 or > 500) return Wrong("Address", "Enter an address of at most 500 characters.");
        if (number.Length > 50) return Wrong("TaxNumber", "A tax number has at most 50 characters.");
        if (label.Length > 30) return Wrong("TaxLabel", "The name of a tax has at most 30 characters.");
        var percent = 0m;
        if (!string.IsNullOrWhiteSpace(input.TaxPercent) && !(decimal.TryParse(input.TaxPercent.Trim(),
            NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out percent)
            && percent <= 100 && percent == decimal.Round(percent, 2)))
            return Wrong("TaxPercent", "Enter a tax rate from 0 to 100, such as 19 or 7.70, with a point.");
        if (percent > 0 && label.Length == 0) return Wrong("TaxLabel", "Enter the name of the tax, such as VAT.");
        var from = latest is null ? DateTime.UnixEpoch : now;
        if (!string.IsNullOrWhiteSpace(input.From) && !DateTime.TryParseExact(input.From.Trim(), "yyyy-MM-dd",
            CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out from))
            return Wrong("From", "Enter a day, such as 2027-01-31.");
        if (from <= latest)
            return Wrong("From", $"There is an entry from {latest:yyyy-MM-dd} already. Choose a later day.");
        return new SellerRow(0, from, name, address, number, label, percent);
    }

    /// <summary>The tax in all payments since then is posted with it, a thousand of them in about a second.</summary>
    static readonly TimeSpan PostingLimit = TimeSpan.FromMinutes(15);

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    public static Task<Outcome<SellerRow>> RunAsync(
        Db db, string actor, Input input, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<SellerRow>(async transaction =>
        {
            var lines = await transaction.ListAsync<SellerRow>(ReceiptSql.Sellers, null, cancel);
            DateTime? latest = lines.Count == 0 ? null : lines[0].ActiveFrom;
            if (Decide(input, latest, time.GetUtcNow().UtcDateTime).Refused(out var problem, out var seller))
                return problem;
            await transaction.ExecuteAsync(ReceiptSql.AddSeller, new
            {
                from = seller.ActiveFrom,
                name = seller.Name,
                address = seller.Address,
                taxNumber = seller.TaxNumber,
                taxLabel = seller.TaxLabel,
                taxPercent = seller.TaxPercent,
            }, cancel, PostingLimit);
            await transaction.AuditAsync(actor, "set_seller", seller.Name, string.Create(CultureInfo.InvariantCulture,
                $"{seller.TaxLabel} {seller.TaxPercent} % from {seller.ActiveFrom:yyyy-MM-dd HH:mm:ss}"), cancel);
            return seller;
        }, cancel);
}
