namespace Capsul.Hub.Features.Payments;

public sealed record PaymentRow(
    int Id, DateTime Created, decimal Dollars, string Method, bool Invalidated, string Note);

/// <summary>Statements over <c>payments</c>.</summary>
public static class PaymentSql
{
    public const string Record = """
        -- PaymentSql.Record
        INSERT INTO payments (created, email, dollars, method, note, bank_line)
        VALUES (@now, @email, @dollars, @method, @note, @bankLine) RETURNING id
        """;

    /// <summary>
    /// Newest first; a page begins after (older than) the payment @after, or with the newest if that is 0.
    /// </summary>
    public const string List = """
        -- PaymentSql.List
        SELECT id, created, dollars, method, invalidated, note FROM payments
        WHERE email = @email AND id < coalesce(nullif(@after, 0), 2147483647)
        ORDER BY id DESC LIMIT @limit
        """;

    public const string Lock = """
        -- PaymentSql.Lock
        SELECT id, created, dollars, method, invalidated, note FROM payments WHERE id = @id FOR NO KEY UPDATE
        """;

    public const string Invalidate = """
        -- PaymentSql.Invalidate
        UPDATE payments SET invalidated = TRUE WHERE id = @id AND NOT invalidated
        """;

    /// <summary>What is left of a payment of which a part went back, in its place.</summary>
    public const string AddRest = """
        -- PaymentSql.AddRest
        INSERT INTO payments (created, email, dollars, method, note, provider_payment, rest_of)
        SELECT @now, email, @dollars, method, @note, provider_payment, id FROM payments WHERE id = @id
        """;
}
