namespace Capsul.Hub.Web;

/// <summary>
/// Marks a route that does not need to know who is signed in (files), to save the query for the session.
/// </summary>
public sealed class NoSession;

/// <summary>Marks a route for scripts, not for people.</summary>
public sealed class ForScripts;
