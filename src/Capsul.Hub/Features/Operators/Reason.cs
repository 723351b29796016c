using Capsul.Foundation;

namespace Capsul.Hub.Features.Operators;

/// <summary>Why an operator did something: one line of text, kept in the audit lines.</summary>
public static class Reason
{
    public const int MaxChars = 200;

    /// <summary>The reason on one line, or the refusal if there is none or it is too long.</summary>
    public static Outcome<string> Parse(string? text)
    {
        var reason = string.Join(' ', (text ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return reason.Length switch
        {
            0 => Wrong("Give a reason: it is kept with what was done."),
            > MaxChars => Wrong($"A reason has at most {MaxChars} characters."),
            _ when reason.Any(char.IsControl) => Wrong("A reason is plain text."),
            _ => reason,
        };
    }

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Reason" };
}
