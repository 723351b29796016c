namespace Capsul.Hub.Web;

/// <summary>
/// Who may open a route. Each route names one; a route that names none is for people who are signed in.
/// </summary>
public static class Policies
{
    /// <summary>Everybody.</summary>
    public const string Public = "public";

    /// <summary>Whoever has a live session.</summary>
    public const string SignedIn = "signed-in";
}
