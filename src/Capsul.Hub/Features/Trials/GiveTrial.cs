using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Trials;

/// <summary>
/// Gives a new account its trial credit, once for an address, also if that had an account before. The address is
/// proven: somebody signs in with it for the first time, or did and is approved now.
/// </summary>
public static class GiveTrial
{
    const string Actor = "trial";

    /// <returns>What it got; 0: nothing.</returns>
    public static async Task<decimal> InAsync(NpgsqlTransaction transaction, Settings settings, string email,
        DateTime now, CancellationToken cancel)
    {
        var amount = settings.TrialAmount;
        if (amount == 0) return 0;
        var lapses = now.AddDays(settings.TrialDays);
        if (await transaction.FindAsync<long?>(TrialSql.Add, new { hash = HashOf(email), now, lapses }, cancel)
            is not { } id)
            return 0;
        var payment = await RecordPayment.InAsync(transaction, email, amount, "trial", string.Create(
            CultureInfo.InvariantCulture, $"until {lapses:yyyy-MM-dd}"), Actor, now, cancel);
        await transaction.ExecuteAsync(TrialSql.SetPayment, new { id, payment }, cancel);
        return amount;
    }

    /// <summary>
    /// Of the address without what is after a plus sign: most mail servers deliver that to the same person.
    /// </summary>
    public static byte[] HashOf(string email)
    {
        var at = email.LastIndexOf('@');
        var local = email[..at];
        var plus = local.IndexOf('+', StringComparison.Ordinal);
        return SHA256.HashData(Encoding.UTF8.GetBytes(
            $"capsul trial {(plus > 0 ? local[..plus] : local)}{email[at..]}".ToLowerInvariant()));
    }
}
