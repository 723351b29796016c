using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Leadership;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Cli;

/// <summary>On its own, so that verbs that never upgrade load nothing of the Hub.</summary>
sealed partial class CliDatabase
{
    /// <param name="settings">Where it is.</param>
    /// <param name="cancel">Gives up.</param>
    public static async Task<CliDatabase> OpenAsync(Settings settings, CancellationToken cancel)
    {
        Show.Currency = (settings.Currency.Symbol, settings.Currency.Decimals);
        var database = await ConnectAsync(settings, cancel);
        try
        {
            await UpgradeAsync(database.Db, settings, cancel);
            return database;
        }
        catch
        {
            await database.DisposeAsync();
            throw;
        }
    }

    static async Task UpgradeAsync(Db db, Settings settings, CancellationToken cancel)
    {
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Information));
        await new SchemaUpgrade(db, settings, patient: false, logs.CreateLogger("Capsul.Cli"))
            .RunAsync(() => Task.CompletedTask, cancel);
        // A payment may be recorded before the Hub has ever run.
        await SetCurrency.RunAsync(db, settings, cancel);
    }
}
