using System.Globalization;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>
/// A table with the columns date, amount, payer, message and reference, in any order, of which only the first two are
/// needed; separated by comma, semicolon or tab, as in RFC 4180. Whatever is not clear is refused, with its line.
/// </summary>
public static class CsvFile
{
    const int MaxRows = 20_000;

    public static Outcome<BankFile> Read(byte[] file)
    {
        string text;
        try
        {
            text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(file).TrimStart('\uFEFF');
        }
        catch (DecoderFallbackException)
        {
            return BankFile.Wrong("This file is not UTF-8. Save it as UTF-8, or use camt.053.");
        }
        var head = text.Split('\n', 2)[0];
        var separator = ";\t,".MaxBy(c => head.Count(h => h == c));
        var rows = Rows(text, separator);
        if (rows.Count > MaxRows) return BankFile.Wrong($"A table has at most {MaxRows} rows.");
        var columns = rows.Count == 0 ? [] : rows[0].Select(c => c.Trim().ToLowerInvariant()).ToList();
        if (!columns.Contains("date", StringComparer.Ordinal) || !columns.Contains("amount", StringComparer.Ordinal))
            return BankFile.Wrong("The first line of a table names its columns: date and amount, and if they are there "
                + "payer, message, reference and currency.");
        return Read(rows, columns);
    }

    static Outcome<BankFile> Read(List<List<string>> rows, List<string> columns)
    {
        var (entries, passed) = (new List<BankEntry>(), 0);
        for (var n = 1; n < rows.Count; n++)
        {
            if (rows[n].TrueForAll(string.IsNullOrWhiteSpace)) continue;
            string Of(string name) => columns.IndexOf(name) is >= 0 and var at && at < rows[n].Count
                ? BankFile.Plain(rows[n][at]) : "";
            var line = n + 1;
            if (BankFile.DayOf(Of("date"), "yyyy-MM-dd", "dd.MM.yyyy") is not { } booked)
                return BankFile.Wrong(
                    $"Line {line}: \"{Of("date")}\" is not a date; write it as 2026-03-01 or 01.03.2026.");
            if (AmountOf(Of("amount")) is not { } amount)
                return BankFile.Wrong($"Line {line}: \"{Of("amount")}\" is not an amount, or not clearly one; write "
                    + "it as 1234.50 or 1234,50.");
            if (amount <= 0) passed++;
            else entries.Add(new BankEntry(null, booked, amount, Of("currency"), Of("payer"),
                // Whose reference a table has, the bank's or a payer's, nobody knows: it is a part of what it says.
                BankFile.Plain($"{Of("message")} {Of("reference")}")));
        }
        return new BankFile(entries, passed);
    }

    /// <summary>
    /// With a point or a comma, and with the other one, or spaces, between thousands. Null: it is not clear, as 1,234
    /// is not.
    /// </summary>
    public static decimal? AmountOf(string text)
    {
        var plain = text.Replace(" ", "", StringComparison.Ordinal).Replace("\u00A0", "", StringComparison.Ordinal)
            .Replace("'", "", StringComparison.Ordinal);
        var last = plain.LastIndexOfAny(['.', ',']);
        if (last >= 0)
        {
            var whole = plain[..last].Replace(plain[last] == '.' ? "," : ".", "", StringComparison.Ordinal);
            if (plain.Length - last - 1 is not (1 or 2) || whole.AsSpan().IndexOfAny('.', ',') >= 0) return null;
            plain = $"{whole}.{plain[(last + 1)..]}";
        }
        return decimal.TryParse(plain, NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture, out var amount) && Math.Abs(amount) < BankFile.TooMuch ? amount : null;
    }

    static List<List<string>> Rows(string text, char separator)
    {
        var (rows, row, field, quoted) = (new List<List<string>>(), new List<string>(), new StringBuilder(), false);
        for (var n = 0; n < text.Length && rows.Count <= MaxRows; n++)
        {
            var c = text[n];
            if (quoted && c == '"' && n + 1 < text.Length && text[n + 1] == '"') field.Append(text[n++]);
            else if (c == '"' && (quoted || field.Length == 0)) quoted = !quoted;
            else if (quoted || c != separator && c is not ('\r' or '\n')) field.Append(c);
            else
            {
                row.Add(field.ToString());
                field.Clear();
                if (c == separator) continue;
                if (c == '\r' && n + 1 < text.Length && text[n + 1] == '\n') n++;
                rows.Add(row);
                row = [];
            }
        }
        if (field.Length > 0 || row.Count > 0) rows.Add([.. row, field.ToString()]);
        return rows;
    }
}
