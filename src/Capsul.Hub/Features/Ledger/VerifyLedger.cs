using System.Data;
using System.Globalization;
using Capsul.Hub.Features.Billing;
using Capsul.Postgres;
using Dapper;

namespace Capsul.Hub.Features.Ledger;

/// <summary>
/// Recomputes everything that the ledger says from entries, payments and usage spans, at one moment, and names each
/// difference. It only reads.
/// </summary>
public static class VerifyLedger
{
    /// <summary>A statement reads whole tables; seconds.</summary>
    const int TimeoutSeconds = 3600;

    /// <param name="Differences">One sentence each; none when all is right.</param>
    /// <param name="Waiting">Accounts whose spans have changed since their hours were posted. That is no difference:
    /// the next hour posts it as a correction. If it does not, it is one (<see cref="StillWaiting"/>).</param>
    /// <param name="WrongTotals">Accounts whose totals of the ledger are not what its entries sum to.</param>
    public sealed record Report(
        IReadOnlyList<string> Differences, IReadOnlyList<AccountCheckRow> Waiting, LedgerCountRow Counts,
        IReadOnlyList<LedgerSumRow> Sums, IReadOnlyList<string> WrongTotals);

    public static async Task<Report> RunAsync(Db db, CancellationToken cancel)
    {
        await using var connection = await db.OpenAsync(cancel);
        // One snapshot for all statements: payments may arrive meanwhile.
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, cancel);
        async Task<IReadOnlyList<T>> ListAsync<T>(string sql) => [.. await connection.QueryAsync<T>(
            new CommandDefinition(sql, null, transaction, TimeoutSeconds, cancellationToken: cancel))];
        var decimals = (await ListAsync<CurrencyRow>(CurrencySql.Find))[0].Decimals;
        var accounts = await ListAsync<AccountCheckRow>(VerifyLedgerSql.Accounts);
        var sums = await ListAsync<LedgerSumRow>(VerifyLedgerSql.Sums);
        return new Report(
            [
                .. (await ListAsync<UnbalancedRow>(VerifyLedgerSql.Unbalanced)).Select(Say),
                .. (await ListAsync<PaymentCheckRow>(VerifyLedgerSql.Payments)).Select(Say),
                .. (await ListAsync<int>(VerifyLedgerSql.LostPayments)).Select(id => string.Create(
                    CultureInfo.InvariantCulture, $"Payment {id} is in the ledger, but not among the payments.")),
                .. (await ListAsync<FeeCheckRow>(VerifyLedgerSql.Fees)).Select(Say),
                .. (await ListAsync<PayoutCheckRow>(VerifyLedgerSql.Payouts)).Select(Say),
                .. (await ListAsync<TaxCheckRow>(VerifyLedgerSql.Taxes)).Select(Say),
                .. (await ListAsync<TaxSumRow>(VerifyLedgerSql.TaxSums)).Select(Say),
                .. (await ListAsync<FundCheckRow>(VerifyLedgerSql.Fund)).Select(Say),
                .. accounts.SelectMany(a => Compare(a, decimals)),
                .. Compare(sums),
            ],
            [.. accounts.Where(a => a.MeteredUsed != a.UsedRows)],
            (await ListAsync<LedgerCountRow>(VerifyLedgerSql.Counts))[0], sums,
            [.. accounts.Where(a => a.Posted != a.PostedRows || a.Charged != a.ChargedRows).Select(a => a.Email)]);
    }

    /// <summary>
    /// Accounts that wait for exactly what they waited for an hour or more ago: no correction has come.
    /// </summary>
    public static IEnumerable<string> StillWaiting(
        IReadOnlyList<AccountCheckRow> before, IReadOnlyList<AccountCheckRow> now)
    {
        var known = before.ToDictionary(a => a.Email, a => a.UsedRows - a.MeteredUsed, StringComparer.Ordinal);
        return from account in now
               where known.TryGetValue(account.Email, out var gap) && gap == account.UsedRows - account.MeteredUsed
               select $"The usage of {account.Email} changed over an hour ago, and was not posted since.";
    }

    /// <summary>An entry whose account is gone is in no sum.</summary>
    static IEnumerable<string> Compare(IReadOnlyList<LedgerSumRow> sums)
    {
        if (sums.Sum(s => s.Amount) is not 0 and var sum)
            yield return string.Create(CultureInfo.InvariantCulture,
                $"All accounts of the ledger together are {sum}, and must be 0.");
    }

    static string Say(UnbalancedRow row) => string.Create(CultureInfo.InvariantCulture,
        $"Ledger transaction {row.Id} has {row.Found} of {row.Entries} entries, which sum to {row.Sum}.");

    static string Say(FeeCheckRow row) => string.Create(CultureInfo.InvariantCulture,
        $"The fees of {row.Provider} are {row.Fees}, but the ledger has {row.Posted} of them.");

    static string Say(PayoutCheckRow row) => string.Create(CultureInfo.InvariantCulture,
        $"The payouts of {row.Provider} are {row.PaidOut}, but the ledger has {row.Posted} of them.");

    static string Say(TaxCheckRow row)
    {
        var of = string.Create(CultureInfo.InvariantCulture, $"Transaction {row.Transaction}")
            + (row.Payment is { } payment ? string.Create(CultureInfo.InvariantCulture, $" of payment {payment}") : "");
        if (row.DueSeller is null) return $"{of} has a row for tax, but is not taxed.";
        if (row.Seller is null) return $"{of} has no row for the tax in it.";
        return string.Create(CultureInfo.InvariantCulture, $"{of} is {row.DueGross} with {row.DueTax} of tax by line "
            + $"{row.DueSeller} of the seller, but its row says {row.Gross} with {row.Tax} by line {row.Seller}.");
    }

    static string Say(TaxSumRow row) => string.Create(CultureInfo.InvariantCulture,
        $"The tax in all payments is {row.Taxes}, but the ledger has {row.Posted} of it in {row.Type}.");

    static string Say(FundCheckRow row) => string.Create(CultureInfo.InvariantCulture,
        $"The solidarity fund holds {row.Holds}, but its entries sum to {row.Posted}.");

    static string Say(PaymentCheckRow row) => string.Create(CultureInfo.InvariantCulture,
        $"Payment {row.Id} counts {row.Counts}, but the ledger has {row.Customer} of it for {row.Email} and ")
        + string.Create(CultureInfo.InvariantCulture, $"{row.Other} on the other side.");

    /// <summary>What is wrong with an account.</summary>
    public static IEnumerable<string> Compare(AccountCheckRow row, int decimals)
    {
        if (row.Paid != row.PaidRows) yield return Say(row, "total of payments", row.Paid, "payments", row.PaidRows);
        if (row.Posted != row.PostedRows)
            yield return Say(row, "posted balance", row.Posted, "entries", row.PostedRows);
        if (row.Charged != row.ChargedRows)
            yield return Say(row, "posted usage", row.Charged, "entries of usage", row.ChargedRows);
        var usage = Charges.Whole(row.MeteredUsed, decimals);
        if (row.ChargedRows != usage)
            yield return Say(row, "usage", usage, "entries of usage", row.ChargedRows);
    }

    static string Say(AccountCheckRow row, string total, decimal says, string rows, decimal sum) =>
        string.Create(CultureInfo.InvariantCulture, $"The {total} of {row.Email} is {says}; its {rows} sum to {sum}.");
}
