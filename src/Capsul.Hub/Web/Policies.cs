namespace Capsul.Hub.Web;

/// <summary>Who may access a route. Each route names a policy; a route that names none requires a sign-in.</summary>
public static class Policies
{
    /// <summary>Everybody.</summary>
    public const string Public = "public";

    /// <summary>Anyone with a valid session.</summary>
    public const string SignedIn = "signed-in";
}
