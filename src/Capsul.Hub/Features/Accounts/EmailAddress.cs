using Capsul.Foundation;

namespace Capsul.Hub.Features.Accounts;

/// <summary>An email address as Capsul stores it: trimmed, lower case, ASCII, safe in an email header.</summary>
public static class EmailAddress
{
    /// <summary>Maximum length of an address, in characters (from RFC 5321's limit on paths).</summary>
    public const int MaxChars = 254;

    const string LocalSigns = "!#$%&'*+-/=?^_`{|}~.";

    public static Outcome<string> Parse(string? text)
    {
        var email = (text ?? "").Trim().ToLowerInvariant();
        if (email.Length == 0)
            return new Problem(ProblemKind.Invalid, "Enter your email address.");
        if (email.Length > MaxChars)
            return new Problem(ProblemKind.Invalid, "That is longer than an email address can be.");
        if (!email.All(char.IsAscii))
            return new Problem(ProblemKind.Invalid,
                "Use plain letters, digits and signs; write an international domain in its xn-- form.");
        var at = email.LastIndexOf('@');
        if (at < 1 || at == email.Length - 1)
            return new Problem(ProblemKind.Invalid, "An email address looks like name@example.org.");
        return IsLocal(email[..at]) && IsDomain(email[(at + 1)..])
            ? email
            : new Problem(ProblemKind.Invalid,
                "An email address looks like name@example.org; this one contains something else.");
    }

    static bool IsLocal(string local) =>
        local.Length <= 64 && local[0] != '.' && local[^1] != '.' && !local.Contains("..", StringComparison.Ordinal)
        && local.All(c => char.IsAsciiLetterOrDigit(c) || LocalSigns.Contains(c, StringComparison.Ordinal));

    static bool IsDomain(string domain) => domain.Split('.').All(label =>
        label.Length is >= 1 and <= 63 && label[0] != '-' && label[^1] != '-'
            && label.All(c => char.IsAsciiLetterOrDigit(c) || c == '-'));
}
