using System.Text;
using Capsul.Postgres.Text;

namespace Capsul.Postgres.Statements;

/// <summary>Takes passwords out of statements before they are kept.</summary>
public static class Passwords
{
    const string Hidden = "'(hidden)'";

    /// <summary>Every string behind PASSWORD or CONNECTION, also inside the dollar quotes of a body, becomes '(hidden)'.</summary>
    public static string Hide(string statement)
    {
        if (!statement.Contains("PASSWORD", StringComparison.OrdinalIgnoreCase) && !statement.Contains("CONNECTION", StringComparison.OrdinalIgnoreCase)) return statement;
        var pieces = Pieces.Of(statement);
        var kept = new StringBuilder(statement.Length);
        var copied = 0;
        for (var i = 0; i < pieces.Count; i++)
        {
            if (pieces.Kind(i) is not (SqlTokenKind.Text or SqlTokenKind.DollarText)) continue;
            var instead = IsPassword(pieces, i) || HoldsStatement(pieces.Text(i)) ? Hidden : pieces.Kind(i) == SqlTokenKind.DollarText ? HideInside(pieces.Text(i).ToString()) : null;
            if (instead is null) continue;
            kept.Append(statement, copied, pieces[i].Start - copied).Append(instead);
            copied = pieces[i].End;
        }
        return kept.Append(statement, copied, statement.Length - copied).ToString();
    }

    /// <summary>PASSWORD 'x', password = 'x', PASSWORD := 'x', CONNECTION 'x', and a column or option called password_….</summary>
    static bool IsPassword(Pieces pieces, int i)
    {
        var before = i - 1;
        if (before >= 0 && pieces.Kind(before) == SqlTokenKind.Symbol && pieces.Text(before) is "=" or ":=" or "=>") before--;
        return before >= 0 && pieces.Kind(before) is SqlTokenKind.Word or SqlTokenKind.QuotedName
            && (pieces.Text(before).Contains("password", StringComparison.OrdinalIgnoreCase) || pieces.Is(before, "CONNECTION"));
    }

    /// <summary>A string that is itself SQL with a password, for EXECUTE.</summary>
    static bool HoldsStatement(ReadOnlySpan<char> literal) =>
        literal[0] != '$' && literal.Contains("password", StringComparison.OrdinalIgnoreCase) && literal.Contains("''", StringComparison.Ordinal);

    static string HideInside(string quoted)
    {
        var tag = quoted.IndexOf('$', 1) + 1;
        return quoted.Length < 2 * tag ? quoted : $"{quoted[..tag]}{Hide(quoted[tag..^tag])}{quoted[^tag..]}";
    }
}
