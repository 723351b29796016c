namespace Capsul.Hub.Features.Payments;

/// <summary>Whose a code is.</summary>
public sealed record AccountReferenceRow(string Email, string Code);

/// <summary>Statements over <c>account_references</c>.</summary>
public static class AccountReferenceSql
{
    public const string Find = """
        -- AccountReferenceSql.Find
        SELECT code FROM account_references WHERE email = @email
        """;

    /// <summary>Nothing if the account has one, or another has this one.</summary>
    public const string Add = """
        -- AccountReferenceSql.Add
        INSERT INTO account_references (email, code) VALUES (@email, @code) ON CONFLICT DO NOTHING
        """;

    public const string WhoseAre = """
        -- AccountReferenceSql.WhoseAre
        SELECT email, code FROM account_references WHERE code = ANY(@codes)
        """;
}
