using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments;

/// <summary>A payment in cash, by mail or by bank transfer, recorded by an operator.</summary>
public static class RecordCash
{
    /// <summary>Units of the currency; anything larger is a typo.</summary>
    public const decimal Most = 1_000_000;

    public static Problem? Decide(decimal dollars) =>
        dollars <= 0 ? new(ProblemKind.Invalid,
            $"A payment must be more than {Show.Dollars(0)}. To take one back, set its column invalidated.")
        : dollars > Most ? new(ProblemKind.Invalid, $"A payment is at most {Show.Dollars(Most)}.")
        : dollars != decimal.Round(dollars, Show.Currency.Decimals)
            ? new(ProblemKind.Invalid, Show.TooFine(Show.Currency.Decimals))
        : null;

    /// <summary>Returns the payment's ID. Creates the account if it does not exist.</summary>
    public static Task<Outcome<int>> RunAsync(
        Db db, string actor, string email, decimal dollars, string note, TimeProvider time, CancellationToken cancel) =>
        RunAsync("cash", db, actor, email, dollars, note, time, cancel);

    /// <summary>The same for what an account had in a database that was lost.</summary>
    public static Task<Outcome<int>> OpeningAsync(
        Db db, string actor, string email, decimal dollars, string note, TimeProvider time, CancellationToken cancel) =>
        RunAsync("opening", db, actor, email, dollars, note, time, cancel);

    static Task<Outcome<int>> RunAsync(string method, Db db, string actor, string email, decimal dollars, string note,
        TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            if (EmailAddress.Parse(email).Refused(out var problem, out var address)
                || (problem = Decide(dollars)) is not null)
                return problem;
            var now = time.GetUtcNow().UtcDateTime;
            await transaction.ExecuteAsync(AccountSql.Create, new { email = address, now }, cancel);
            return await RecordPayment.InAsync(transaction, address, dollars, method, note, actor, now, cancel);
        }, cancel);
}
