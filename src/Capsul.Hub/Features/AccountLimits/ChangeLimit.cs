using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.AccountLimits;

/// <summary>An operator changes how much accounts of an age may run.</summary>
public static class ChangeLimit
{
    const int MaxDays = 3650, MaxMaxVms = 10_000;

    /// <summary>What was typed.</summary>
    /// <param name="AfterDays">Age of the account; empty: 0.</param>
    /// <param name="Paid">What was paid in; empty: 0.</param>
    public sealed record Input(string? AfterDays, string? Paid, string? MaxVms);

    public static Outcome<AccountLimitRow> Decide(Input input, int decimals)
    {
        if (!TryNumber(input.AfterDays, out var days) || days > MaxDays)
            return Wrong("AfterDays", $"Enter a number of days from 0 to {MaxDays}.");
        var paid = 0m;
        if (!string.IsNullOrWhiteSpace(input.Paid) && (!decimal.TryParse(input.Paid.Trim(),
            NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out paid)
            || paid != decimal.Round(paid, decimals) || paid >= 10_000_000_000))
            return Wrong("Paid", $"Enter an amount such as {Show.Examples(decimals)}, or nothing.");
        return string.IsNullOrWhiteSpace(input.MaxVms) || !TryNumber(input.MaxVms, out var most) || most > MaxMaxVms
            ? Wrong("MaxVms", $"Enter a number of capsuls from 0 to {MaxMaxVms}.")
            : new AccountLimitRow(days, paid, most);
    }

    static bool TryNumber(string? text, out int number)
    {
        number = 0;
        return string.IsNullOrWhiteSpace(text)
            || int.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out number);
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    public static Task<Outcome<AccountLimitRow>> RunAsync(
        Db db, Settings settings, string actor, Input input, CancellationToken cancel) =>
        db.DecideAsync<AccountLimitRow>(async transaction =>
        {
            if (Decide(input, settings.Currency.Decimals).Refused(out var problem, out var line)) return problem;
            await transaction.ExecuteAsync(
                AccountLimitSql.Set, new { line.AfterDays, line.Paid, line.MaxVms }, cancel);
            await transaction.AuditAsync(actor, "change_limit", "account limits", Say(line), cancel);
            return line;
        }, cancel);

    public static Task<Outcome<AccountLimitRow>> RemoveAsync(
        Db db, Settings settings, string actor, Input input, CancellationToken cancel) =>
        db.DecideAsync<AccountLimitRow>(async transaction =>
        {
            if (Decide(input with { MaxVms = "0" }, settings.Currency.Decimals).Refused(out var problem, out var line))
                return problem;
            if (await transaction.ExecuteAsync(
                AccountLimitSql.Remove, new { line.AfterDays, line.Paid }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, "There is no such line.");
            await transaction.AuditAsync(actor, "remove_limit", "account limits", Say(line), cancel);
            return line;
        }, cancel);

    static string Say(AccountLimitRow line) => string.Create(
        CultureInfo.InvariantCulture, $"after {line.AfterDays} days and {line.Paid} paid: {line.MaxVms}");
}
