using System.Globalization;
using System.Text;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Ledger;

/// <summary>The statement of an account for one month, in UTC.</summary>
/// <param name="Closing">The posted balance at its end.</param>
public sealed record Month(DateTime From, DateTime Until, decimal Opening, decimal Usage, decimal Closing,
    IReadOnlyList<MonthLineRow> Lines, IReadOnlyList<MonthUsageRow> Charged, IReadOnlyList<MonthTaxRow> Taxes)
{
    /// <summary>Rows of each list.</summary>
    const int MostRows = 1000;

    /// <summary>There is more than is listed.</summary>
    public bool IsCut => Lines.Count == MostRows || Charged.Count == MostRows;

    /// <summary>What was used, exactly; only whole units are posted, and the rest is carried over.</summary>
    public decimal Exactly => Charged.Count == 0 ? 0 : Charged[0].Total;

    public string Name => From.ToString("MMMM yyyy", CultureInfo.InvariantCulture);

    public string Key => From.ToString(Statement.MonthFormat, CultureInfo.InvariantCulture);

    /// <summary>A month that has begun; null for anything else.</summary>
    public static DateTime? Parse(string? text, DateTime now) =>
        string.IsNullOrWhiteSpace(text) ? new DateTime(now.Year, now.Month, 1, 0, 0, 0, DateTimeKind.Utc)
        : DateTime.TryParseExact(text, Statement.MonthFormat, CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var month)
            && month <= now && month.Year >= 2000 ? month : null;

    public static async Task<Month> LoadAsync(
        Db db, string email, DateTime from, DateTime now, CancellationToken cancel)
    {
        var until = from.AddMonths(1);
        var asked = new { email, from, until, now, limit = MostRows };
        var sums = await db.AskAsync<MonthSumsRow>(MonthSql.Sums, asked, cancel);
        var lines = await db.ListAsync<MonthLineRow>(MonthSql.Lines, asked, cancel);
        return new Month(from, until, sums.Opening, sums.Usage, sums.Opening + sums.Lines - sums.Usage, lines,
            await db.ListAsync<MonthUsageRow>(MonthSql.Usage, asked, cancel),
            await db.ListAsync<MonthTaxRow>(MonthSql.Taxes, asked, cancel));
    }

    /// <summary>
    /// One line each, as in RFC 4180; amounts are what they did to the balance. The tax in the payments, which did
    /// nothing to it, is in a column of its own.
    /// </summary>
    public string ToCsv(string currency)
    {
        var text = new StringBuilder("date,what,receipt,capsul,size,seconds,price_per_month,amount,currency,tax\r\n");
        Add(From, "opening balance", Opening);
        foreach (var line in Lines) Add(line.At, What(line), line.Amount, line.Receipt);
        foreach (var used in Charged)
            text.Append(CultureInfo.InvariantCulture,
                $"{From:yyyy-MM-dd},usage (exact),,{used.Vm},{used.Size},{used.Seconds:0.######},")
                .Append(CultureInfo.InvariantCulture,
                    $"{Show.Plain(used.DollarsPerMonth)},{-used.Dollars:0.00000000},{currency},\r\n");
        if (Closing - Opening + Usage - Lines.Sum(l => l.Amount) is not 0 and var more)
            Add(Until, "lines that are not listed", more);
        Add(Until, "usage posted in whole units", -Usage);
        Add(Until, "closing balance", Closing);
        foreach (var tax in Taxes)
            text.Append(CultureInfo.InvariantCulture, $"{Until:yyyy-MM-dd},{Quoted($"{tax.Name}, in the payments")},")
                .Append(CultureInfo.InvariantCulture, $",,,,,,{currency},{Show.Plain(tax.Tax)}\r\n");
        return text.ToString();

        void Add(DateTime at, string what, decimal amount, int? receipt = null) => text.Append(
            CultureInfo.InvariantCulture,
            $"{at:yyyy-MM-dd},{Quoted(what)},{receipt},,,,,{Show.Plain(amount)},{currency},\r\n");
    }

    static string Quoted(string text) => $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    public static string What(MonthLineRow line) => Statement.Say(new StatementLineRow(
        line.Kind, line.Payment, line.Method, line.Note, line.At, line.At, line.Amount, line.Id, 1));
}
