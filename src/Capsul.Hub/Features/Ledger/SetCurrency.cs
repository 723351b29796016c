using Capsul.Foundation;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Ledger;

/// <summary>The database takes over the currency of the settings, and keeps it once money was posted.</summary>
public static class SetCurrency
{
    /// <exception cref="ProblemException">There are entries in another currency.</exception>
    public static async Task RunAsync(Db db, Settings settings, CancellationToken cancel)
    {
        var (code, symbol, decimals) = settings.Currency;
        // Without a write if there is nothing to change: the database of a standby Hub may be read-only.
        if (await db.AskAsync<CurrencyRow>(CurrencySql.Find, null, cancel) == new CurrencyRow(code, symbol, decimals))
            return;
        try
        {
            await db.ExecuteAsync(CurrencySql.Set, new { code, symbol, decimals }, cancel);
        }
        catch (PostgresException error) when (error.ConstraintName == "currency_stays")
        {
            var was = await db.AskAsync<CurrencyRow>(CurrencySql.Find, null, cancel);
            throw new ProblemException(ProblemKind.Conflict,
                $"CAPSUL_CURRENCY is {code} with {decimals} decimal places, but there are amounts of {was.Code} with "
                + $"{was.Decimals} in the ledger. Set it to \"{was.Code} {was.Symbol} {was.Decimals}\", or begin with "
                + "an empty database.", null, error);
        }
    }
}
