using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments;

/// <summary>Money that came in.</summary>
public static class RecordPayment
{
    /// <summary>
    /// Writes a payment and the audit line that goes with it, in the caller's transaction; gives the payment's id.
    /// </summary>
    /// <param name="actor">Who says so: an email address, or the name of a verb.</param>
    public static async Task<int> InAsync(
        NpgsqlTransaction transaction, string email, decimal dollars, string method, string note, string actor,
        DateTime now, CancellationToken cancel)
    {
        var id = await transaction.FindAsync<int>(PaymentSql.Record, new { now, email, dollars, method, note }, cancel);
        await transaction.AuditAsync(actor, "record_payment", $"payment {id}", $"{email} {dollars} {method}", cancel);
        return id;
    }
}
