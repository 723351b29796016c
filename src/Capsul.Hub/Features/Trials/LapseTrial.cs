using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Payments;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Trials;

/// <summary>Takes back what an account has not used of its trial credit in time.</summary>
public static class LapseTrial
{
    const string Actor = "trial";

    /// <param name="Net">What it has of trial credit.</param>
    /// <param name="Used">Since the account was made, exactly: trial credit counts as used first.</param>
    public sealed record Facts(decimal Net, decimal Used);

    /// <summary>What lapses, in whole units of the currency, rounded down: nothing that was used is taken.</summary>
    public static decimal Decide(Facts facts, int decimals) => Math.Max(0, decimal.Round(
        facts.Net - facts.Used, decimals, MidpointRounding.ToNegativeInfinity));

    /// <summary>False: it has lapsed already.</summary>
    public static async Task<bool> InAsync(
        NpgsqlTransaction transaction, long id, Settings settings, DateTime now, CancellationToken cancel)
    {
        var seen = await transaction.FindAsync<TrialRow>(TrialSql.Find, new { id }, cancel);
        var email = seen?.Email ?? "";
        await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
        await transaction.FindAsync<long?>(TrialSql.Lock, new { id }, cancel);
        await transaction.FindAsync<string>(DunningSql.LockTotals, new { email }, cancel);
        var lapsed = 0m;
        if (await transaction.FindAsync<TrialRow>(TrialSql.Find, new { id }, cancel) is not null)
        {
            var balance = await transaction.AskAsync<BalanceRow>(BillingSql.Balance, new { email, now }, cancel);
            var net = await transaction.AskAsync<decimal>(TrialSql.Net, new { email }, cancel);
            lapsed = Decide(new Facts(net, balance.Used), settings.Currency.Decimals);
        }
        var taken = lapsed == 0 ? default(int?) : await RecordPayment.InAsync(
            transaction, email, -lapsed, "trial", "not used in time", Actor, now, cancel);
        return await transaction.ExecuteAsync(TrialSql.Lapse, new { id, now, taken }, cancel) > 0;
    }
}
