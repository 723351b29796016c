using System.Globalization;
using Capsul.Hub.Features.Payments.Bank;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// A part of a payment has gone back, other than by a provider's refund: the payment counts no longer, and what is left
/// of it is another one. So the receipt of the first gets a credit note, and the rest has a receipt of its own.
/// </summary>
public static class ReturnPayment
{
    /// <summary>In the caller's transaction, which has locked the account. False: it counts no longer anyway.</summary>
    public static async Task<bool> InAsync(NpgsqlTransaction transaction, int id, decimal amount, string why,
        string actor, DateTime now, CancellationToken cancel)
    {
        var payment = await transaction.AskAsync<PaymentRow>(PaymentSql.Lock, new { id }, cancel);
        if (payment.Invalidated) return false;
        await transaction.ExecuteAsync(PaymentSql.Invalidate, new { id }, cancel);
        await transaction.ExecuteAsync(BankLineSql.Return, new { payment = id }, cancel);
        if (payment.Dollars > amount)
            await transaction.ExecuteAsync(PaymentSql.AddRest,
                new { id, now, dollars = payment.Dollars - amount, note = $"the rest of payment {id}" }, cancel);
        await transaction.AuditAsync(actor, "return_payment", $"payment {id}",
            string.Create(CultureInfo.InvariantCulture, $"{amount} of {payment.Dollars}; {why}"), cancel);
        return true;
    }
}
