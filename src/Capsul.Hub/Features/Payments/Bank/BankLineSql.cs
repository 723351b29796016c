namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>Money that a bank says has arrived.</summary>
/// <param name="State">waiting, assigned, kept or ignored.</param>
/// <param name="Email">Whose code is in the message; later, whose it is.</param>
public sealed record BankLineRow(long Id, DateTime Booked, decimal Amount, string Payer, string Message, string State,
    string? Email);

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

    public const string ListOpen = """
        -- BankLineSql.ListOpen
        SELECT id, booked::timestamp AS booked, amount, payer, message, state, email FROM bank_lines
        WHERE state IN ('waiting', 'kept') ORDER BY id LIMIT @limit
        """;

    public const string Lock = """
        -- BankLineSql.Lock
        SELECT id, booked::timestamp AS booked, amount, payer, message, state, email FROM bank_lines WHERE id = @id
        FOR UPDATE
        """;

    public const string Assign = """
        -- BankLineSql.Assign
        UPDATE bank_lines SET state = 'assigned', email = @email, payment = @payment WHERE id = @id
        """;

    public const string SetState = """
        -- BankLineSql.SetState
        UPDATE bank_lines SET state = @state WHERE id = @id
        """;
}
