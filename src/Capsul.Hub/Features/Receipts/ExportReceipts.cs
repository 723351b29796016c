using System.Globalization;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Receipts;

/// <summary>Writes all receipts and credit notes as CSV (RFC 4180), in the order of their numbers.</summary>
public static class ExportReceipts
{
    const int PageRows = 1000;

    public static async Task RunAsync(Db db, TextWriter output, CancellationToken cancel)
    {
        await output.WriteAsync("number,cancels,paid,issued,payment,method,account,customer,customer_tax_number,seller,"
            + "tax,percent,net,tax_amount,gross\r\n");
        for (var after = 0; ;)
        {
            var page = await db.ListAsync<ReceiptRow>(ReceiptSql.List, new { after, limit = PageRows }, cancel);
            foreach (var r in page) await output.WriteAsync(Line(r).AsMemory(), cancel);
            if (page.Count < PageRows) return;
            after = page[^1].Number;
        }
    }

    static string Line(ReceiptRow r) => string.Create(CultureInfo.InvariantCulture,
        $"{r.Number},{r.Corrects},{r.At:yyyy-MM-dd},{r.Issued:yyyy-MM-dd},{r.Payment},{r.Method},{Quoted(r.Email)},")
        + $"{Quoted(r.Name)},{Quoted(r.TaxNumber)},{Quoted(r.SellerName)},{Quoted(r.TaxLabel)},"
        + string.Create(CultureInfo.InvariantCulture,
            $"{r.TaxPercent:0.##},{Show.Plain(r.Net)},{Show.Plain(r.Tax)},{Show.Plain(r.Gross)}\r\n");

    /// <summary>People type names: a spreadsheet must not take one for a formula.</summary>
    static string Quoted(string text)
    {
        var safe = text.Length > 0 && "=+-@".Contains(text[0], StringComparison.Ordinal) ? "'" + text : text;
        return $"\"{safe.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
    }
}
