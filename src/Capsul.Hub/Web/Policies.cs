using Capsul.Foundation;

namespace Capsul.Hub.Web;

/// <summary>Who may access a route. Each route names a policy; a route that names none requires a sign-in.</summary>
public static class Policies
{
    /// <summary>Everybody.</summary>
    public const string Public = "public";

    /// <summary>Anyone with a valid session.</summary>
    public const string SignedIn = "signed-in";

    /// <summary>The accounts of CAPSUL_OPERATOR_EMAIL. For everybody else these routes do not exist.</summary>
    public const string Operator = "operator";

    public static bool IsOperator(Settings settings, string? email) =>
        email is not null && settings.OperatorEmails.Contains(email, StringComparer.Ordinal);
}
