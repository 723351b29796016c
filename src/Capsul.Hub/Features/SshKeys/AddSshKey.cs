using System.Globalization;
using Capsul.Foundation;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.SshKeys;

/// <summary>Adding a public key to an account.</summary>
public static class AddSshKey
{
    public const int MaxKeys = 50, MaxNameChars = 64;

    public sealed record Facts(long Keys);

    /// <param name="Name">If blank, the comment of the key, or else its type.</param>
    public sealed record Input(string? Name, string? Text);

    public sealed record Plan(string Name, SshKey Key);

    public static Outcome<Plan> Decide(Facts facts, Input input)
    {
        if (facts.Keys >= MaxKeys)
            return new Problem(ProblemKind.Conflict,
                $"You have {MaxKeys} keys, the most an account may have. Remove one first.");
        if (SshKey.Parse(input.Text).Refused(out var problem, out var key))
            return problem;
        var name = input.Name?.Trim() is { Length: > 0 } given ? given : DefaultName(key);
        if (name.Length > MaxNameChars)
            return new Problem(ProblemKind.Invalid, $"A name has at most {MaxNameChars} characters.")
            {
                Field = nameof(Input.Name),
            };
        if (name.Any(IsUnseen))
            return new Problem(ProblemKind.Invalid, "The name contains an invisible character. Type it manually.")
            {
                Field = nameof(Input.Name),
            };
        return new Plan(name, key);
    }

    /// <summary>Decides and adds, in the caller's transaction. Returns the key's ID and what was added.</summary>
    public static async Task<Outcome<(long Id, Plan Added)>> InAsync(
        NpgsqlTransaction transaction, string email, Input input, DateTime now, CancellationToken cancel)
    {
        await transaction.FindAsync<string>(SshKeySql.LockAccount, new { email }, cancel);
        var facts = new Facts(await transaction.FindAsync<long>(SshKeySql.Count, new { email }, cancel));
        if (Decide(facts, input).Refused(out var problem, out var plan)) return problem;
        var (type, key, fingerprint) = (plan.Key.Type, plan.Key.Key, plan.Key.Fingerprint);
        return (await transaction.FindAsync<long>(
            SshKeySql.Add, new { email, name = plan.Name, type, key, fingerprint, now }, cancel), plan);
    }

    static string DefaultName(SshKey key)
    {
        var seen = string.Concat(key.Comment.Where(c => !IsUnseen(c))).Trim();
        return seen.Length == 0 ? key.Type : seen.Length > MaxNameChars ? seen[..MaxNameChars].Trim() : seen;
    }

    static bool IsUnseen(char c) => char.GetUnicodeCategory(c) is UnicodeCategory.Control or UnicodeCategory.Format
        or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        or UnicodeCategory.Surrogate or UnicodeCategory.OtherNotAssigned
        or UnicodeCategory.PrivateUse;
}
