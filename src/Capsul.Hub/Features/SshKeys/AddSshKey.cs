using System.Globalization;
using Capsul.Foundation;

namespace Capsul.Hub.Features.SshKeys;

/// <summary>Adding a public key to an account.</summary>
public static class AddSshKey
{
    public const int MaxKeys = 50, MaxNameChars = 64;

    public sealed record Facts(long Keys);

    /// <param name="Name">Blank takes the comment of the key, or else its type.</param>
    public sealed record Input(string? Name, string? Text);

    public sealed record Plan(string Name, SshKey Key);

    public static Outcome<Plan> Decide(Facts facts, Input input)
    {
        if (facts.Keys >= MaxKeys)
            return new Problem(ProblemKind.Conflict, $"You have {MaxKeys} keys, which is the most. Remove one first.");
        if (SshKey.Parse(input.Text).Refused(out var problem, out var key))
            return problem;
        var name = input.Name?.Trim() is { Length: > 0 } given ? given : DefaultName(key);
        if (name.Length > MaxNameChars)
            return new Problem(ProblemKind.Invalid, $"A name has at most {MaxNameChars} characters.");
        if (name.Any(IsUnseen))
            return new Problem(ProblemKind.Invalid, "There is a character in the name that cannot be seen. Type it by hand.");
        return new Plan(name, key);
    }

    static string DefaultName(SshKey key)
    {
        var seen = string.Concat(key.Comment.Where(c => !IsUnseen(c))).Trim();
        return seen.Length == 0 ? key.Type : seen.Length > MaxNameChars ? seen[..MaxNameChars].Trim() : seen;
    }

    static bool IsUnseen(char c) => char.GetUnicodeCategory(c) is UnicodeCategory.Control or UnicodeCategory.Format
        or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.Surrogate or UnicodeCategory.OtherNotAssigned
        or UnicodeCategory.PrivateUse;
}
