using System.Globalization;
using System.Xml;
using System.Xml.Linq;
using Capsul.Foundation;

namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>
/// A bank's statement in ISO 20022 camt.053, of any version: names are compared without their namespace. The file is
/// not trusted: no document type, no entities, and a limited size.
/// </summary>
static class CamtFile
{
    public static Outcome<BankFile> Read(byte[] file)
    {
        var settings = new XmlReaderSettings
        {
            DtdProcessing = DtdProcessing.Prohibit,
            XmlResolver = null,
            MaxCharactersInDocument = BankFile.MaxBytes,
            IgnoreComments = true,
            IgnoreProcessingInstructions = true,
        };
        try
        {
            using var reader = XmlReader.Create(new MemoryStream(file), settings);
            var root = XDocument.Load(reader).Root!;
            var statements = root.All("BkToCstmrStmt").SelectMany(s => s.All("Stmt")).ToList();
            if (root.Name.LocalName != "Document" || statements.Count == 0)
                return BankFile.Wrong("This XML is not a bank statement (camt.053).");
            var (entries, passed, count) = (new List<BankEntry>(), 0, 0);
            foreach (var statement in statements)
            {
                var account = statement.First("Acct")?.First("Id")?.Descendants().LastOrDefault()?.Value.Trim() ?? "";
                foreach (var entry in statement.All("Ntry"))
                {
                    count++;
                    if (!IsReceived(entry)) passed++;
                    else if (Split(account, entry).Refused(out var problem, out var parts))
                        return problem with { Message = $"{NameOf(entry, count)}: {problem.Message}" };
                    else if (parts.Count == 0) passed++;
                    else entries.AddRange(parts);
                }
            }
            return new BankFile(entries, passed);
        }
        catch (XmlException error)
        {
            return BankFile.Wrong($"This XML cannot be read: {error.Message}");
        }
    }

    static bool IsReceived(XElement entry) => entry.First("CdtDbtInd")?.Value.Trim() == "CRDT"
        && entry.First("RvslInd")?.Value.Trim() is null or "false" or "0"
        && (entry.First("Sts")?.First("Cd") ?? entry.First("Sts"))?.Value.Trim() is null or "BOOK";

    /// <summary>By which a person finds it in the file.</summary>
    static string NameOf(XElement entry, int count) => ReferenceOf(entry) is { Length: > 0 } reference
        ? string.Create(CultureInfo.InvariantCulture, $"Entry {count} ({BankFile.Plain(reference)})")
        : string.Create(CultureInfo.InvariantCulture, $"Entry {count}");

    /// <summary>NtryRef is no reference for good: many banks number the entries of each statement.</summary>
    static string? ReferenceOf(XElement entry) => entry.First("AcctSvcrRef")?.Value.Trim();

    /// <summary>
    /// A batch is one entry with many transactions; each has a payer of its own. None: it is of nothing, as some banks
    /// write for what is free.
    /// </summary>
    static Outcome<IReadOnlyList<BankEntry>> Split(string account, XElement entry)
    {
        if (entry.First("Amt") is not { } money) return BankFile.Wrong("it has no amount.");
        if (AmountOf(money) is not { } amount)
            return BankFile.Wrong($"\"{BankFile.Plain(money.Value)}\" is not an amount.");
        if (amount <= 0) return Array.Empty<BankEntry>();
        if (amount >= BankFile.TooMuch) return BankFile.Wrong("its amount is too large.");
        if (DayOf(entry) is not { } booked) return BankFile.Wrong("it has no date in the form 2026-03-01.");
        var (currency, reference) = (money.Attribute("Ccy")?.Value ?? "", ReferenceOf(entry));
        var parts = entry.All("NtryDtls").SelectMany(d => d.All("TxDtls")).ToList();
        var amounts = parts.Select(p => (p.First("Amt") ?? p.First("AmtDtls")?.First("TxAmt")?.First("Amt"))
            is { } part ? AmountOf(part) ?? 0 : 0).ToList();
        // What does not add up is one line, with everything that its parts say.
        var isBatch = parts.Count > 1 && amounts.TrueForAll(a => a is > 0 and < BankFile.TooMuch)
            && amounts.Sum() == amount;
        if (!isBatch)
            return new[] { Make(Id(reference, ""), booked, amount, currency, parts, entry) };
        return amounts.Select((a, n) => Make(Id(reference, string.Create(CultureInfo.InvariantCulture, $"/{n + 1}")),
            booked, a, currency, [parts[n]], entry)).ToList();

        string? Id(string? of, string part) => string.IsNullOrEmpty(of) ? null : $"{account}:{of}{part}";
    }

    static DateOnly? DayOf(XElement entry)
    {
        var day = entry.First("BookgDt") ?? entry.First("ValDt");
        var text = (day?.First("Dt") ?? day?.First("DtTm"))?.Value.Trim() ?? "";
        return BankFile.DayOf(text.Length > 10 ? text[..10] : text, "yyyy-MM-dd");
    }

    static BankEntry Make(
        string? id, DateOnly booked, decimal amount, string currency, List<XElement> parts, XElement entry)
    {
        var payer = parts.Select(p => p.First("RltdPties")?.First("Dbtr"))
            .Select(d => (d?.First("Pty") ?? d)?.First("Nm")?.Value).FirstOrDefault(n => n is not null);
        var message = parts.SelectMany(p => p.All("RmtInf")).SelectMany(r => r.Descendants())
            .Where(e => !e.HasElements && e.Name.LocalName is "Ustrd" or "Ref" or "AddtlRmtInf").Select(e => e.Value)
            .Concat(parts.Select(p => p.First("Refs")?.First("EndToEndId")?.Value)
                .Where(e => e is not null and not "NOTPROVIDED").Select(e => e!))
            .ToList();
        if (message.Count == 0 && entry.First("AddtlNtryInf") is { } more) message.Add(more.Value);
        return new BankEntry(id is null ? null : BankFile.Plain(id), booked, amount, currency, BankFile.Plain(payer),
            BankFile.Plain(string.Join(' ', message)));
    }

    static decimal? AmountOf(XElement amount) => decimal.TryParse(amount.Value.Trim(),
        NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
        ? value : null;

    static XElement? First(this XElement of, string name) =>
        of.Elements().FirstOrDefault(e => e.Name.LocalName == name);

    static IEnumerable<XElement> All(this XElement of, string name) =>
        of.Elements().Where(e => e.Name.LocalName == name);
}
