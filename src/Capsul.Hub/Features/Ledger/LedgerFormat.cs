using System.Globalization;
using System.Text;

namespace Capsul.Hub.Features.Ledger;

/// <summary>A form in which the ledger can be exported.</summary>
public abstract class LedgerFormat
{
    /// <summary>All of them by name.</summary>
    public static readonly IReadOnlyDictionary<string, LedgerFormat> All =
        new Dictionary<string, LedgerFormat>(StringComparer.Ordinal)
        {
            ["csv"] = new CsvFormat(),
            ["hledger"] = new HledgerFormat(),
            ["beancount"] = new BeancountFormat(),
        };

    /// <summary>What comes before the transactions.</summary>
    public abstract string Head(CurrencyRow currency, IEnumerable<LedgerAccountRow> accounts);

    /// <param name="entries">All entries of the transaction.</param>
    public abstract string Transaction(
        CurrencyRow currency, IReadOnlyDictionary<long, LedgerAccountRow> accounts, IReadOnlyList<ExportRow> entries);

    protected static string Amount(CurrencyRow currency, decimal amount) =>
        amount.ToString("F" + currency.Decimals, CultureInfo.InvariantCulture);

    protected static string Time(DateTime time) =>
        time.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    protected static string Date(DateTime time) => time.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    /// <summary>What a transaction is, in words that no format takes for its own signs.</summary>
    protected static string Describe(ExportRow row)
    {
        var text = new StringBuilder(row.Kind);
        if (row.Payment is { } payment)
            text.Append(row.Kind == "reversal" ? " of payment " : " ").Append(payment);
        else if (row.Kind == "usage" && row.Note.Length == 0)
            text.Append(" until ").Append(Time(row.At));
        foreach (var c in row.Note.Length > 0 ? ", " + row.Note : "")
            text.Append(char.IsControl(c) || c is ';' or '|' or '"' or '\\' ? ' ' : c);
        return text.ToString();
    }
}

/// <summary>One line for each entry, as in RFC 4180.</summary>
sealed class CsvFormat : LedgerFormat
{
    public override string Head(CurrencyRow currency, IEnumerable<LedgerAccountRow> accounts) =>
        "transaction,at,posted,kind,payment,note,line,account,type,name,email,amount,currency,hour,corrects\r\n";

    public override string Transaction(
        CurrencyRow currency, IReadOnlyDictionary<long, LedgerAccountRow> accounts, IReadOnlyList<ExportRow> entries)
    {
        var text = new StringBuilder();
        foreach (var e in entries)
        {
            var account = accounts[e.Account];
            text.Append(CultureInfo.InvariantCulture, $"{e.Transaction},{Time(e.At)},{Time(e.Posted)},{e.Kind},")
                .Append(CultureInfo.InvariantCulture, $"{e.Payment},{Quote(e.Note)},{e.Line},{e.Account},")
                .Append($"{account.Type},{account.Name},{Quote(account.Email ?? "")},")
                .Append(CultureInfo.InvariantCulture, $"{Amount(currency, e.Amount)},{currency.Code},")
                .Append(e.Hour is { } hour ? Time(hour) : "").Append(e.Corrects ? ",true\r\n" : ",false\r\n");
        }
        return text.ToString();
    }

    /// <summary>A text that a spreadsheet would take for a formula gets an apostrophe in front.</summary>
    static string Quote(string text)
    {
        if (text.Length > 0 && "=+-@\t".Contains(text[0], StringComparison.Ordinal)) text = "'" + text;
        return text.AsSpan().IndexOfAny("\",\r\n") < 0
            ? text : $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
    }
}

/// <summary>A journal that <c>hledger check --strict</c> accepts: accounts and currency are declared.</summary>
sealed class HledgerFormat : LedgerFormat
{
    public override string Head(CurrencyRow currency, IEnumerable<LedgerAccountRow> accounts)
    {
        // The decimal mark is needed even without decimal places.
        var text = new StringBuilder($"commodity 1000.{new string('0', currency.Decimals)} {currency.Code}\n\n");
        foreach (var account in accounts)
            text.Append($"account {NameOf(account)}{(account.Email is { } email ? $"  ; {email}" : "")}\n");
        return text.ToString();
    }

    public override string Transaction(
        CurrencyRow currency, IReadOnlyDictionary<long, LedgerAccountRow> accounts, IReadOnlyList<ExportRow> entries)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture,
            $"\n{Date(entries[0].At)} * ({entries[0].Transaction}) {Describe(entries[0])}\n");
        foreach (var e in entries)
        {
            text.Append($"    {NameOf(accounts[e.Account])}  {Amount(currency, e.Amount)} {currency.Code}")
                .Append(e.Hour is { } hour ? $"  ; hour:{Time(hour)}\n" : "\n");
        }
        return text.ToString();
    }

    static string NameOf(LedgerAccountRow account) => account.Type switch
    {
        "customer" => string.Create(CultureInfo.InvariantCulture, $"liabilities:customers:{account.Id}"),
        "usage_income" => "income:usage",
        "cash" => "assets:cash",
        "bank" => "assets:bank",
        "provider_clearing" => $"assets:clearing:{account.Name}",
        "provider_fees" => $"expenses:fees:{account.Name}",
        "solidarity_fund" => "equity:solidarity fund",
        "vouchers" => "expenses:vouchers",
        "trial_credit" => "expenses:trial credit",
        "write_off" => "expenses:write-off",
        "tax" => "liabilities:tax",
        "tax_in_prices" => "income:tax in prices",
        _ => "liabilities:to be assigned",
    };
}

/// <summary>A file that <c>bean-check</c> accepts.</summary>
sealed class BeancountFormat : LedgerFormat
{
    public override string Head(CurrencyRow currency, IEnumerable<LedgerAccountRow> accounts)
    {
        var text = new StringBuilder($"option \"operating_currency\" \"{currency.Code}\"\n\n");
        foreach (var account in accounts)
        {
            text.Append($"1970-01-01 open {NameOf(account)} {currency.Code}\n");
            if (account.Email is { } email)
                text.Append($"  email: \"{email.Replace('"', ' ').Replace('\\', ' ')}\"\n");
        }
        return text.ToString();
    }

    public override string Transaction(
        CurrencyRow currency, IReadOnlyDictionary<long, LedgerAccountRow> accounts, IReadOnlyList<ExportRow> entries)
    {
        var text = new StringBuilder();
        text.Append($"\n{Date(entries[0].At)} * \"{Describe(entries[0])}\"\n")
            .Append(CultureInfo.InvariantCulture, $"  transaction: \"{entries[0].Transaction}\"\n");
        foreach (var e in entries)
        {
            text.Append($"  {NameOf(accounts[e.Account])}  {Amount(currency, e.Amount)} {currency.Code}\n");
            if (e.Hour is { } hour) text.Append($"    hour: \"{Time(hour)}\"\n");
        }
        return text.ToString();
    }

    static string NameOf(LedgerAccountRow account) => account.Type switch
    {
        "customer" => string.Create(CultureInfo.InvariantCulture, $"Liabilities:Customers:C{account.Id}"),
        "usage_income" => "Income:Usage",
        "cash" => "Assets:Cash",
        "bank" => "Assets:Bank",
        "provider_clearing" => $"Assets:Clearing:{Capital(account.Name)}",
        "provider_fees" => $"Expenses:Fees:{Capital(account.Name)}",
        "solidarity_fund" => "Equity:SolidarityFund",
        "vouchers" => "Expenses:Vouchers",
        "trial_credit" => "Expenses:TrialCredit",
        "write_off" => "Expenses:WriteOff",
        "tax" => "Liabilities:Tax",
        "tax_in_prices" => "Income:TaxInPrices",
        _ => "Liabilities:ToBeAssigned",
    };

    static string Capital(string name) => char.ToUpperInvariant(name[0]) + name[1..];
}
