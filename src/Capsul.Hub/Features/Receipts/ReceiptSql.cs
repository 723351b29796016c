namespace Capsul.Hub.Features.Receipts;

/// <summary>Who sells from a date on, and which tax is in the prices.</summary>
/// <param name="TaxLabel">What the tax is called; empty: there is none.</param>
public sealed record SellerRow(
    long Id, DateTime ActiveFrom, string Name, string Address, string TaxNumber, string TaxLabel, decimal TaxPercent)
{
    /// <summary>The first line may be for all payments until then.</summary>
    public bool IsFirst => ActiveFrom == DateTime.UnixEpoch;
}

/// <summary>To whom receipts of an account are addressed.</summary>
public sealed record BillingAddressRow(string Name, string Address, string TaxNumber)
{
    public static readonly BillingAddressRow None = new("", "", "");
}

/// <summary>A payment for which there is a receipt, or will be.</summary>
public sealed record ReceiptPaymentRow(
    int Id, DateTime Created, string Email, decimal Dollars, string Method, bool Invalidated)
{
    /// <summary>
    /// What was carried over from other books has its receipt there, and for what nobody has paid there is none.
    /// </summary>
    public bool HasReceipt => Payments.PaymentMethod.HasReceipt(Method, Dollars);

    public string Way => Payments.PaymentMethod.Say(Method);
}

/// <summary>A payment of which a receipt or credit note is due.</summary>
public sealed record DueReceiptRow(int Id, string Email);

/// <summary>A transaction of a payment in the ledger, the tax in it, and the receipt of it, if there is one.</summary>
/// <param name="Turn">Odd: the payment counts; even: it counts no longer.</param>
/// <param name="Seller">By which line; null: none is in force for it.</param>
public sealed record ReceiptTurnRow(
    long Transaction, int Turn, DateTime At, int? Number, long? Seller, decimal? Gross, decimal? Net, decimal? Tax)
{
    public bool IsReversal => Turn % 2 == 0;
}

/// <summary>A receipt, or, if it corrects one, a credit note.</summary>
public sealed record ReceiptRow(int Number, DateTime Issued, DateTime At, int? Corrects, string Name, string Address,
    string TaxNumber, decimal Gross, decimal Net, decimal Tax, string SellerName, string SellerAddress,
    string SellerTaxNumber, string TaxLabel, decimal TaxPercent, int Payment, string Method, string Email)
{
    public string Title => Corrects is null ? "Receipt" : "Credit note";

    public string Way => Payments.PaymentMethod.Say(Method);
}

/// <summary>Numbers that are on no receipt in this database.</summary>
public sealed record ReceiptGapRow(int First, int Last, string Reason, string Actor, DateTime At);

/// <summary>Statements on receipts, on who sells and on whom they are addressed to.</summary>
public static class ReceiptSql
{
    public const string Sellers = """
        -- ReceiptSql.Sellers
        SELECT id, active_from, name, address, tax_number, tax_label, tax_percent FROM sellers
        ORDER BY active_from DESC
        """;

    /// <summary>Who sold at @at.</summary>
    public const string SellerAt = """
        -- ReceiptSql.SellerAt
        SELECT id, active_from, name, address, tax_number, tax_label, tax_percent FROM sellers
        WHERE active_from <= @at ORDER BY active_from DESC LIMIT 1
        """;

    /// <summary>
    /// The first receipt of a payment, or of the one that it replaces: what is left of it, or what counts instead at
    /// the same provider.
    /// </summary>
    const string First = """
        FROM (SELECT p.id AS payment UNION SELECT p.rest_of
                UNION SELECT q.id FROM payments q WHERE q.provider_payment = p.provider_payment) AS o
            JOIN ledger_transactions t ON t.payment = o.payment JOIN receipts r ON r.transaction = t.id
        ORDER BY t.payment <> p.id, r.number LIMIT 1
        """;

    /// <summary>To whom the first receipt is addressed.</summary>
    public const string AddressOf = $"""
        -- ReceiptSql.AddressOf
        SELECT f.name, f.address, f.tax_number
        FROM payments p, LATERAL (SELECT r.name, r.address, r.tax_number {First}) AS f WHERE p.id = @id
        """;

    public const string AddSeller = """
        -- ReceiptSql.AddSeller
        INSERT INTO sellers (active_from, name, address, tax_number, tax_label, tax_percent)
        VALUES (@from, @name, @address, @taxNumber, @taxLabel, @taxPercent)
        """;

    public const string FindAddress = """
        -- ReceiptSql.FindAddress
        SELECT name, address, tax_number FROM billing_addresses WHERE email = @email
        """;

    public const string SetAddress = """
        -- ReceiptSql.SetAddress
        INSERT INTO billing_addresses (email, name, address, tax_number) VALUES (@email, @name, @address, @taxNumber)
        ON CONFLICT (email) DO UPDATE
            SET name = excluded.name, address = excluded.address, tax_number = excluded.tax_number
        """;

    public const string ForgetAddress = """
        -- ReceiptSql.ForgetAddress
        DELETE FROM billing_addresses WHERE email = @email
        """;

    public const string FindPayment = """
        -- ReceiptSql.FindPayment
        SELECT id, created, email, dollars, method, invalidated FROM payments WHERE id = @id AND email = @email
        """;

    public const string FindOwner = """
        -- ReceiptSql.FindOwner
        SELECT email FROM payments WHERE id = @id
        """;

    /// <summary>Locked, so that it neither counts nor ceases to count meanwhile.</summary>
    public const string LockPayment = """
        -- ReceiptSql.LockPayment
        SELECT id FROM payments WHERE id = @id AND email = @email FOR NO KEY UPDATE
        """;

    /// <summary>
    /// Payments of which a receipt or credit note is to be made, because there is one already that is not the whole
    /// truth any more: they have ceased to count, or count again, or are what counts in the place of one. A page begins
    /// after @after.
    /// </summary>
    public const string Due = """
        -- ReceiptSql.Due
        WITH changed AS (
            SELECT p.id, p.provider_payment FROM payments p
            WHERE p.id IN (SELECT payment FROM ledger_transactions WHERE kind = 'reversal') AND EXISTS (
                SELECT FROM ledger_transactions t JOIN receipts r ON r.transaction = t.id WHERE t.payment = p.id)
        ), due AS (
            SELECT id FROM changed
            UNION SELECT q.id FROM changed c JOIN payments q ON q.rest_of = c.id AND NOT q.invalidated
            UNION SELECT q.id FROM changed c JOIN payments q ON q.provider_payment = c.provider_payment
                AND NOT q.invalidated
        )
        SELECT p.id, p.email FROM due d JOIN payments p ON p.id = d.id
        WHERE p.id > @after AND EXISTS (SELECT FROM ledger_transactions t WHERE t.payment = p.id
            AND NOT EXISTS (SELECT FROM receipts r WHERE r.transaction = t.id))
        ORDER BY p.id LIMIT @limit
        """;

    /// <summary>What happened to a payment, in turns.</summary>
    public const string Turns = """
        -- ReceiptSql.Turns
        SELECT t.id AS transaction, t.turn, t.at, r.number, x.seller, x.gross, x.net, x.tax
        FROM ledger_transactions t LEFT JOIN receipts r ON r.transaction = t.id
            LEFT JOIN payment_taxes x ON x.transaction = t.id
        WHERE t.payment = @id ORDER BY t.turn
        """;

    /// <summary>The database gives it the next number.</summary>
    public const string Add = """
        -- ReceiptSql.Add
        INSERT INTO receipts (number, transaction, issued, seller, corrects, name, address, tax_number, gross, net, tax)
        VALUES (0, @transaction, @now, @seller, @corrects, @name, @address, @taxNumber, @gross, @net, @tax)
        RETURNING number
        """;

    /// <summary>The last number. Whoever makes a receipt waits.</summary>
    public const string LockNumbers = """
        -- ReceiptSql.LockNumbers
        SELECT last FROM receipt_numbers FOR UPDATE
        """;

    public const string AddGap = """
        -- ReceiptSql.AddGap
        INSERT INTO receipt_gaps (first, last, reason, actor, at) VALUES (@First, @Last, @Reason, @Actor, @At)
        """;

    public const string Gaps = """
        -- ReceiptSql.Gaps
        SELECT first, last, reason, actor, at FROM receipt_gaps ORDER BY first
        """;

    const string Columns = """
        r.number, r.issued, t.at, r.corrects, r.name, r.address, r.tax_number, r.gross, r.net, r.tax,
            s.name AS seller_name, s.address AS seller_address, s.tax_number AS seller_tax_number, s.tax_label,
            s.tax_percent, p.id AS payment, p.method, p.email
        """;

    const string Joined = """
        receipts r JOIN ledger_transactions t ON t.id = r.transaction JOIN payments p ON p.id = t.payment
            JOIN sellers s ON s.id = r.seller
        """;

    /// <summary>All receipts and credit notes of a payment.</summary>
    public const string OfPayment = $"""
        -- ReceiptSql.OfPayment
        SELECT {Columns} FROM {Joined} WHERE t.payment = @id ORDER BY t.turn
        """;

    /// <summary>In the order of their numbers; a page begins after @after.</summary>
    public const string List = $"""
        -- ReceiptSql.List
        SELECT {Columns} FROM {Joined} WHERE r.number > @after ORDER BY r.number LIMIT @limit
        """;
}
