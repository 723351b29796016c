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
                return BankFile.Wrong("This XML is no statement of a bank (camt.053).");
            var (entries, passed) = (new List<BankEntry>(), 0);
            foreach (var statement in statements)
            {
                var account = statement.First("Acct")?.First("Id")?.Descendants().LastOrDefault()?.Value.Trim() ?? "";
                foreach (var entry in statement.All("Ntry"))
                {
                    if (IsReceived(entry)) entries.AddRange(Split(account, entry));
                    else passed++;
                }
            }
            return new BankFile(entries, passed);
        }
        catch (Exception error) when (error is XmlException or FormatException or OverflowException)
        {
            return BankFile.Wrong($"This XML cannot be read: {error.Message}");
        }
    }

    static bool IsReceived(XElement entry) => entry.First("CdtDbtInd")?.Value.Trim() == "CRDT"
        && entry.First("RvslInd")?.Value.Trim() is null or "false" or "0"
        && (entry.First("Sts")?.First("Cd") ?? entry.First("Sts"))?.Value.Trim() is null or "BOOK";

    /// <summary>A batch is one entry with many transactions; each has a payer of its own.</summary>
    static IEnumerable<BankEntry> Split(string account, XElement entry)
    {
        var total = AmountOf(entry.First("Amt")!);
        var day = entry.First("BookgDt") ?? entry.First("ValDt");
        var booked = DateOnly.Parse((day?.First("Dt") ?? day?.First("DtTm"))?.Value.Trim()[..10]
            ?? throw new FormatException("an entry has no date"), CultureInfo.InvariantCulture);
        // NtryRef is no reference for good: many banks number the entries of each statement.
        var reference = entry.First("AcctSvcrRef")?.Value.Trim();
        var parts = entry.All("NtryDtls").SelectMany(d => d.All("TxDtls")).ToList();
        var amounts = parts.Select(p => (p.First("Amt") ?? p.First("AmtDtls")?.First("TxAmt")?.First("Amt"))
            is { } amount ? AmountOf(amount).Amount : 0).ToList();
        // What does not add up is one line, with everything that its parts say.
        var isBatch = parts.Count > 1 && amounts.TrueForAll(a => a > 0) && amounts.Sum() == total.Amount;
        if (!isBatch)
        {
            yield return Make(Id(reference, ""), booked, total.Amount, total.Currency, parts, entry);
            yield break;
        }
        for (var n = 0; n < parts.Count; n++)
            yield return Make(Id(reference, string.Create(CultureInfo.InvariantCulture, $"/{n + 1}")), booked,
                amounts[n], total.Currency, [parts[n]], entry);

        string? Id(string? of, string part) => string.IsNullOrEmpty(of) ? null : $"{account}:{of}{part}";
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

    static (decimal Amount, string Currency) AmountOf(XElement amount) => (
        decimal.Parse(amount.Value.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture),
        amount.Attribute("Ccy")?.Value ?? "");

    static XElement? First(this XElement of, string name) =>
        of.Elements().FirstOrDefault(e => e.Name.LocalName == name);

    static IEnumerable<XElement> All(this XElement of, string name) =>
        of.Elements().Where(e => e.Name.LocalName == name);
}
