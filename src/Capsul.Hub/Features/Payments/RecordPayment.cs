using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments;

/// <summary>Recording a payment.</summary>
public static class RecordPayment
{
    /// <summary>Inserts a payment and its audit line in the caller's transaction; returns the payment's ID.</summary>
    /// <param name="actor">Who recorded it: an email address, or the name of a command.</param>
    /// <param name="bankLine">Which line of the bank it is.</param>
    public static async Task<int> InAsync(
        NpgsqlTransaction transaction, string email, decimal dollars, string method, string note, string actor,
        DateTime now, CancellationToken cancel, long? bankLine = null)
    {
        var id = await transaction.FindAsync<int>(
            PaymentSql.Record, new { now, email, dollars, method, note, bankLine }, cancel);
        await transaction.AuditAsync(actor, "record_payment", $"payment {id}", $"{email} {dollars} {method}", cancel);
        return id;
    }
}
