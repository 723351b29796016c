using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Closings;

/// <summary>
/// Begins to close an account. Nothing new can be created or paid in from then on, and everybody is signed out. Its
/// capsuls run until the time in which it may be reopened is over; then the active Hub does the rest.
/// </summary>
public static class CloseAccount
{
    /// <summary>Characters of what a person says about where to send money.</summary>
    public const int MaxPayTo = 300;

    /// <summary>Who asked for it, where no name may stay.</summary>
    const string Owner = "the owner";

    /// <param name="Typed">The address that was typed to confirm; null: an operator does it, and says why.</param>
    /// <param name="Money">One of <see cref="ClosingMoney"/>.</param>
    /// <param name="PayTo">Where to send what cannot go back by itself, such as an IBAN; may be empty.</param>
    public sealed record Input(string? Typed, string? Money, string? PayTo, string? Reason);

    /// <param name="Exists">There is such an account.</param>
    /// <param name="OtherOperators">Operators with an account that is not being closed, besides this one.</param>
    public sealed record Facts(string Email, bool Exists, bool IsClosing, bool IsOperator, int OtherOperators);

    public sealed record Plan(string Money, string PayTo, string Reason);

    public static Outcome<Plan> Decide(Facts facts, Input input)
    {
        if (!facts.Exists)
            return new Problem(ProblemKind.NotFound, $"There is no account {facts.Email}.") { Field = "Email" };
        if (facts.IsClosing)
            return new Problem(ProblemKind.Conflict, "This account is being closed already.");
        if (facts is { IsOperator: true, OtherOperators: 0 })
            return new Problem(ProblemKind.Conflict,
                "This is the only operator's account, so it stays: add another operator first.");
        if (input.Typed is { } typed
            && !typed.Trim().Equals(facts.Email, StringComparison.OrdinalIgnoreCase))
            return Wrong("Typed", "Type the email address of the account exactly, so that none is closed by mistake.");
        var money = input.Money ?? ClosingMoney.Back;
        if (money is not (ClosingMoney.Back or ClosingMoney.Hand or ClosingMoney.Fund))
            return Wrong("Money", "Choose where the money goes.");
        var payTo = string.Join(' ', (input.PayTo ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        if (payTo.Length > MaxPayTo || payTo.Any(char.IsControl))
            return Wrong("PayTo", $"This is plain text of at most {MaxPayTo} characters.");
        if (input.Typed is not null) return new Plan(money, payTo, "");
        return Reason.Parse(input.Reason).Refused(out var problem, out var why) ? problem
            : new Plan(money, payTo, why);
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <returns>Until when the account may be reopened.</returns>
    public static Task<Outcome<DateTime>> RunAsync(Db db, Settings settings, string actor, string? account,
        Input input, TimeProvider time, CancellationToken cancel) => db.DecideAsync<DateTime>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            var others = settings.OperatorEmails.Where(o => o != email).ToArray();
            var isOperator = settings.OperatorEmails.Contains(email, StringComparer.Ordinal);
            // Two operators who close their accounts at the same time must see each other.
            var found = await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = isOperator ? [email, .. others] : new[] { email } }, cancel);
            var facts = new Facts(email, found.Contains(email, StringComparer.Ordinal),
                await transaction.FindAsync<ClosingRow>(ClosingSql.FindOf, new { email }, cancel) is not null,
                isOperator,
                await transaction.AskAsync<int>(AccountSql.CountOpen, new { emails = others }, cancel));
            if (Decide(facts, input).Refused(out var problem, out var plan)) return problem;
            var now = time.GetUtcNow().UtcDateTime;
            var due = now.AddDays(settings.ClosingDays);
            var by = actor == email ? Owner : actor;
            var id = await transaction.AskAsync<long>(ClosingSql.Add,
                new { email, actor = by, plan.Reason, now, due, plan.Money, plan.PayTo }, cancel);
            await transaction.ExecuteAsync(AccountSql.DeleteSessionsOf, new { email }, cancel);
            await transaction.ExecuteAsync(SignInSql.EndLinksOf, new { email, now }, cancel);
            await TurnOffAutoTopUp.RemoveCardInAsync(transaction, email, OffReason.Closing, by, now, cancel);
            await new Outbox(time).EnqueueAsync(transaction, ClosingMail.Write(email, due, settings), cancel);
            await transaction.AuditAsync(actor, "close_account", email, $"closing {id}, money {plan.Money}; "
                + plan.Reason, cancel);
            return due;
        }, cancel);
}
