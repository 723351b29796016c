namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>Money that a bank says has arrived.</summary>
/// <param name="State">
/// waiting, assigned (to an account), kept (nobody knows whose), ignored, or returned: its money was sent back.
/// </param>
/// <param name="Email">Whose code is in the message; later, whose it is.</param>
/// <param name="Was">The last payment of it, which was invalidated.</param>
public sealed record BankLineRow(long Id, DateTime Booked, decimal Amount, string Payer, string Message, string State,
    string? Email, int? Was);

/// <summary>Statements over <c>bank_lines</c>.</summary>
public static class BankLineSql
{
    /// <summary>Entries that are known already are left out.</summary>
    public const string AddMany = """
        -- BankLineSql.AddMany
        INSERT INTO bank_lines (entry, booked, amount, payer, message, imported, actor, email)
        SELECT n.entry, n.booked, n.amount, n.payer, n.message, @now, @actor, n.email
        FROM unnest(@entries::text[], @booked::date[], @amounts::numeric[], @payers::text[], @messages::text[],
            @emails::text[]) AS n (entry, booked, amount, payer, message, email)
        ON CONFLICT (entry) DO NOTHING RETURNING id
        """;

    const string Columns = """
        b.id, b.booked::timestamp AS booked, b.amount, b.payer, b.message, b.state, b.email,
            (SELECT max(p.id) FROM payments p WHERE p.bank_line = b.id AND p.invalidated) AS was
        """;

    public const string ListOpen = $"""
        -- BankLineSql.ListOpen
        SELECT {Columns} FROM bank_lines b WHERE b.state IN ('waiting', 'kept') ORDER BY b.id LIMIT @limit
        """;

    public const string Lock = $"""
        -- BankLineSql.Lock
        SELECT {Columns} FROM bank_lines b WHERE b.id = @id FOR UPDATE OF b
        """;

    public const string Assign = """
        -- BankLineSql.Assign
        UPDATE bank_lines SET state = 'assigned', email = @email, payment = @payment WHERE id = @id
        """;

    /// <summary>The money of a payment was sent back: its line is not open again.</summary>
    public const string Return = """
        -- BankLineSql.Return
        UPDATE bank_lines b SET state = 'returned', email = p.email FROM payments p
        WHERE p.id = @payment AND b.id = p.bank_line AND b.state IN ('waiting', 'kept')
        """;

    public const string SetState = """
        -- BankLineSql.SetState
        UPDATE bank_lines SET state = @state WHERE id = @id
        """;
}
