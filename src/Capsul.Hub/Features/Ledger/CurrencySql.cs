namespace Capsul.Hub.Features.Ledger;

/// <summary>The installation's currency.</summary>
/// <param name="Code">As in ISO 4217.</param>
/// <param name="Decimals">Decimal places of the smallest unit.</param>
public sealed record CurrencyRow(string Code, string Symbol, int Decimals);

/// <summary>Statements over <c>currency</c>.</summary>
public static class CurrencySql
{
    public const string Find = """
        -- CurrencySql.Find
        SELECT code, symbol, decimals FROM currency
        """;

    /// <summary>Refused by the database once there are entries, except for the symbol.</summary>
    public const string Set = """
        -- CurrencySql.Set
        UPDATE currency SET code = @code, symbol = @symbol, decimals = @decimals
        WHERE (code, symbol, decimals) <> (@code, @symbol, @decimals)
        """;
}
