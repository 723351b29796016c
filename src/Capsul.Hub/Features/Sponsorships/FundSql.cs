namespace Capsul.Hub.Features.Sponsorships;

/// <summary>What an account could give to the fund, while its totals are locked.</summary>
/// <param name="Granted">Of vouchers and the fund: it counts as used first.</param>
public sealed record OwnMoneyRow(decimal Paid, decimal Used, decimal Granted);

/// <summary>A movement that was made under a key.</summary>
public sealed record FundMovementRow(int Payment, string Email, decimal Dollars);

/// <summary>An entry of the fund's account of the ledger.</summary>
/// <param name="Amount">What it added to the fund, or took.</param>
/// <param name="Email">Whose payment it is; null: it is an adjustment.</param>
/// <param name="Sponsorship">Of which it is a month.</param>
public sealed record FundEntryRow(long Transaction, DateTime At, string Kind, int? Payment, string? Email, string Note,
    decimal Amount, long? Sponsorship)
{
    /// <summary>In words, for operators.</summary>
    public string What => this switch
    {
        { Email: null } => Note.Length > 0 ? Note : "adjustment",
        { Kind: "reversal" } => $"payment {Payment} of {Email} invalidated",
        { Sponsorship: { } id } => $"payment {Payment} to {Email}, sponsorship {id}",
        { Amount: < 0 } => $"payment {Payment} to {Email}",
        _ => $"payment {Payment}, given by {Email}",
    };
}

/// <summary>Statements over <c>solidarity_fund</c>, which a trigger keeps, and <c>fund_movements</c>.</summary>
public static class FundSql
{
    public const string Balance = """
        -- FundSql.Balance
        SELECT balance FROM solidarity_fund
        """;

    /// <summary>The last row that is locked: whoever takes money from the fund decides on this.</summary>
    public const string Lock = """
        -- FundSql.Lock
        SELECT balance FROM solidarity_fund FOR NO KEY UPDATE
        """;

    /// <summary>Paid and used are those of <c>BillingSql.Balance</c>.</summary>
    public const string Granted = """
        -- FundSql.Granted
        SELECT coalesce(sum(dollars), 0) FROM payments
        WHERE email = @email AND NOT invalidated AND (method IN ('voucher', 'trial')
            OR method = 'solidarity' AND dollars > 0)
        """;

    public const string FindMovement = """
        -- FundSql.FindMovement
        SELECT m.payment, p.email, p.dollars FROM fund_movements m JOIN payments p ON p.id = m.payment
        WHERE m.key = @key
        """;

    public const string AddMovement = """
        -- FundSql.AddMovement
        INSERT INTO fund_movements (payment, key) VALUES (@payment, @key)
        """;

    /// <summary>Refused by the database if it is not the next month, or not due yet.</summary>
    public const string AddMonth = """
        -- FundSql.AddMonth
        INSERT INTO fund_movements (payment, sponsorship, month) VALUES (@payment, @sponsorship, @month)
        """;

    /// <summary>
    /// Newest first; a page begins after (older than) the transaction @after, or with the newest if that is 0.
    /// </summary>
    public const string History = """
        -- FundSql.History
        SELECT t.id AS transaction, t.at, t.kind, t.payment, p.email, t.note, -e.amount AS amount, m.sponsorship
        FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction
            LEFT JOIN payments p ON p.id = t.payment LEFT JOIN fund_movements m ON m.payment = t.payment
        WHERE e.account = 3 AND e.transaction < coalesce(nullif(@after, 0), 9223372036854775807)
        ORDER BY e.transaction DESC LIMIT @limit
        """;
}
